"""Wrong arguments of public functions: one line with what was expected and what came."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.lists.candidates import new_lists

KEY = jax.random.key(0)
SHAPE = (3, 5)
SITES = sad.Sites(*(np.zeros(s, np.float32) for s in ((4, 2), 4, 4, (4, 3), (4, 2), 4)))
LISTS = new_lists(np.zeros((*SHAPE, 4), np.int32), sad.Canvas(SHAPE), SITES)
POINTS = np.zeros((1, 2))

with_lists = {
    "render": sad.render,
    "owners": sad.owners,
    "query": partial(sad.query, points=POINTS),
    "resample": partial(sad.resample, new_shape=SHAPE),
    "diagram": sad.viz.diagram,
}
with_canvas = {
    "find": sad.find_candidates,
    "seed": partial(sad.seed_candidates, key=KEY),
    "flood": partial(sad.flood_candidates, key=KEY),
    "resize": partial(sad.resize, new_canvas=SHAPE),
    "encode": sad.encode,
    "state": partial(sad.make_state, optimizer=sad.adam()),
    "bands": partial(sad.find_candidates, mesh=sad.sharding.make_mesh()),
}
EDITS = (sad.densify, sad.prune)
every = with_lists | with_canvas | {"propagate": partial(sad.propagate, key=KEY)}


def refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def stacked(tree):
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tree)


def test_what_is_no_state():
    loss = jnp.mean
    step = sad.make_step(loss, sad.adam())
    of_state = [sad.refresh, step, *(partial(edit, loss=loss, count=1) for edit in EDITS)]
    for call in of_state:
        for other in (None, 5, SITES):
            refused(lambda: call(other), "expected a State, got")  # noqa: B023
    refused(lambda: sad.minimize(loss, LISTS, SHAPE), "expected Sites, got")


@pytest.mark.parametrize("name", every)
def test_what_are_no_sites(name):
    second = LISTS if name == "propagate" else SHAPE
    for other in (None, {"a": 1}, 5, "sites", LISTS):
        refused(lambda: every[name](other, second), "expected Sites, got")  # noqa: B023
    batch = r"expected the sites of one picture, got a batch of shape \(2,\); .* jax.vmap"
    refused(lambda: every[name](stacked(SITES), second), batch)
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), SITES)
    refused(lambda: every[name](half, second), "expected sites in float32, .*, got float16")
    for radius, words in ((None, "None"), ([1.0] * 4, "\\[1.0"), (np.ones(4, int), "int32")):
        broken = SITES.replace(radius=radius)
        refused(lambda: every[name](broken, second), f"expected .* got .*{words}")  # noqa: B023


@pytest.mark.parametrize("name", with_lists | with_canvas)
@pytest.mark.parametrize(
    "canvas", [None, 5, "ab", (3,), (1, 2, 3), (0, 4), (2.5, 3), np.zeros(SHAPE), {"a": 1}]
)
def test_what_is_no_canvas(name, canvas):
    words = r"expected a canvas \(H, W\) of at least one pixel, or a Canvas, got"
    refused(lambda: every[name](SITES, canvas), words)


@pytest.mark.parametrize("name", sorted(with_lists.keys() - {"diagram"}))
def test_a_canvas_that_jit_hides(name):
    words = r"expected a canvas that is known while JAX traces .*static_argnums.*, got"
    refused(lambda: jax.jit(with_lists[name])(SITES, SHAPE), words)
    batch = r"expected the lists of one picture, got a batch of shape \(2,\); .* jax.vmap"
    refused(lambda: with_lists[name](SITES, stacked(LISTS)), batch)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sad.propagate(SITES, SHAPE, key=KEY), r"lists \(Candidates\), got \(3, 5\)"),
        (lambda: sad.propagate(SITES, LISTS, key=0), "one JAX random key .* got 0"),
        (lambda: sad.seed_candidates(SITES, SHAPE, key=None), "one JAX random key .* got None"),
        (lambda: sad.flood_candidates(SITES, SHAPE, key=3), "one JAX random key .* got 3"),
        (
            lambda: sad.flood_candidates(SITES, SHAPE, key=KEY, passes=-1),
            "passes, a whole number of at least 0, got -1",
        ),
        (
            lambda: sad.find_candidates(SITES, SHAPE, near=LISTS.ids),
            r"near, lists \(Candidates\) or None, got int32\[3, 5, 4\]",
        ),
        (lambda: sad.find_candidates(SITES, SHAPE, k="8"), "K from 1 to 32, got '8'"),
        (lambda: sad.find_candidates(SITES, SHAPE, k=2.5), "K from 1 to 32, got 2.5"),
        (lambda: sad.find_candidates(SITES, SHAPE, cell=2.0), "a cell of 1, 2 or 4 .* got 2.0"),
        (lambda: sad.query(SITES, LISTS, "a"), r"points \[..., 2\], real numbers, got"),
        (lambda: sad.query(SITES, LISTS, None), r"points \[..., 2\], real numbers, got"),
        (
            lambda: sad.query(SITES, LISTS, POINTS + 1j),
            r"points .* real numbers, got complex128\[1, 2\]",
        ),
        (lambda: sad.resample(SITES, LISTS, 5), r"a canvas \(H, W\) .* got 5"),
        (lambda: sad.resize(SITES, SHAPE, 7), r"a canvas \(H, W\) .* got 7"),
        (lambda: sad.find_candidates(SITES, SHAPE, mesh=3), "a mesh .* got 3"),
        (lambda: sad.decode("abc"), "the bytes of a .sad file, got 'abc'"),
        (lambda: sad.metrics.psnr("a", "b"), "a picture .* got shape"),
        (lambda: sad.metrics.ssim(np.zeros((4, 4)), np.zeros((4, 4, 2))), "two pictures .* got"),
    ],
)
def test_other_arguments(call, words):
    refused(call, f"expected {words}")
