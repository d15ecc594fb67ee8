"""The Pallas kernels, interpreted, against the XLA twin; their lowering for CUDA."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kernels_pallas
import sad_jax as sad
from experiments import gpu_compile
from kernels_pallas.by_site import turn_around
from kernels_pallas.config import Launch
from sad_jax import density, losses
from sad_jax.passes import launch_of

CASES = [  # shape, sites, channels, K, cell
    ((1, 1), 1, 3, 8, 1),
    ((1, 37), 5, 1, 8, 2),
    ((13, 10), 30, 3, 8, 4),
    ((11, 14), 40, 4, 1, 2),
    ((9, 14), 60, 5, 32, 1),
    ((25, 31), 40, 5, 3, 4),
    ((7, 9), 20, 6, 4, 1),
]
INTERPRETED = "pallas_interpret"
ROUNDING = 1e-4  # of weights: scores of sites this sharp are some hundreds, in float32


@pytest.fixture
def launched(monkeypatch):
    """``launched(gather=..., lanes=...)`` changes how the interpreted kernels are launched."""

    def change(**options) -> None:
        launch = dataclasses.replace(kernels_pallas.INTERPRETED, **options)
        monkeypatch.setattr(kernels_pallas, "INTERPRETED", launch)

    jax.clear_caches()
    yield change
    jax.clear_caches()


def problem(make_sites, reference, shape, n, channels, k, cell):
    """Sites, lists, a picture with some pixels of weight zero, and a tangent."""
    rng = np.random.default_rng(1)
    sites = make_sites(n, channels, shape)
    lists = reference.lists(sites, shape, k, cell)
    image = jnp.asarray(rng.uniform(size=(*shape, channels)), jnp.float32)
    weight = jnp.asarray(rng.uniform(size=shape) * (rng.uniform(size=shape) > 0.2), jnp.float32)
    vector = jnp.asarray(rng.normal(size=(6 + channels, n)), jnp.float32)
    return sites, lists, image, weight, vector


def pull_back(target, sites, lists, vector):
    """The picture, and the gradient of its product with the target."""
    options = {"implementation": target.implementation, "deterministic": target.deterministic}
    picture, pull = jax.vjp(partial(sad.render, lists=lists, **options), sites)
    return picture, pull(lists.grid.join_image(target.image))[0]


def colors(target, sites, lists, vector):
    known = lists.grid, sites, lists.ids, target
    return losses.color_product(*known, vector[6:]), losses.color_right_side(*known)


PASSES = {
    "pull back": pull_back,
    "gradient": lambda t, s, c, v: losses.gradient(c.grid, s, c.ids, t),
    "curvature": lambda t, s, c, v: losses.gradient_and_curvature(c.grid, s, c.ids, t),
    "change": lambda t, s, c, v: losses.change_of_picture(c.grid, s, c.ids, t, v),
    "colors": colors,
    "statistics": lambda t, s, c, v: density._sums(c.grid, s, c.ids, t),
}


@partial(jax.jit, static_argnames=("name", "implementation", "deterministic"))
def run(sites, lists, image, weight, vector, *, name, implementation, deterministic=True):
    """One of the passes, by one implementation."""
    options = {"implementation": implementation, "deterministic": deterministic}
    target = losses.make_target(lists.grid, image, weight, **options)
    return PASSES[name](target, sites, lists, vector)


@pytest.mark.parametrize(
    ("name", "case", "deterministic"),
    [
        *(("pull back", case, True) for case in CASES[:6]),
        ("pull back", CASES[5], False),
        ("gradient", CASES[1], False),
        ("curvature", CASES[0], True),
        ("curvature", CASES[3], False),
        ("curvature", CASES[6], True),  # more sums than a kernel holds at once
        ("change", CASES[3], True),
        ("change", CASES[6], False),
        ("colors", CASES[3], True),
        ("statistics", CASES[3], True),
    ],
)
def test_kernels_equal_the_xla_twin(make_sites, reference, assert_same, name, case, deterministic):
    """Values and gradients: element by element, by cosine and by relative norm."""
    arguments = problem(make_sites, reference, *case)
    options = {"name": name, "deterministic": deterministic}
    found = run(*arguments, **options, implementation=INTERPRETED)
    assert_same(found, run(*arguments, **options, implementation="xla_vjp"), ROUNDING)
    if name == "pull back":
        np.testing.assert_allclose(found[0], reference.render(*arguments[:2]), atol=2e-4)


@pytest.mark.parametrize(
    "options", [{"gather": "outside", "lanes": 128}, {"lanes": 128, "pixels": 1}]
)
def test_the_launch_does_not_change_the_result(
    make_sites, reference, assert_same, launched, options
):
    """Rows gathered outside; several programs a block: 3 of 128 lanes."""
    case = problem(make_sites, reference, (38, 35), 30, 3, 4, 2)
    expected = run(*case, name="change", implementation="xla_vjp")
    launched(**options)
    assert_same(run(*case, name="change", implementation=INTERPRETED), expected, ROUNDING)


def test_lists_are_turned_around():
    """Cells in the order of their sites; the last site stands in no list."""
    ids = jnp.asarray([[[0, 2], [2, 1], [1, 2]]])
    cells, begin = turn_around(ids, 4)
    assert cells.tolist() == [0, 1, 2, 0, 1, 2]
    assert begin.tolist() == [0, 1, 3, 6, 6]


def test_a_large_picture_is_summed_in_parts(make_sites, reference, assert_same, monkeypatch):
    """More slot sums than may exist at once: 2 blocks, and a padded third and fourth, by twos."""
    from kernels_pallas import fit_step

    monkeypatch.setattr(fit_step, "LARGEST", 2 * 10 * 2 * 8192 * 4)
    jax.clear_caches()
    sites, lists, image, weight, vector = problem(make_sites, reference, (151, 140), 20, 3, 2, 1)
    assert lists.grid.blocks == 3

    case = sites, lists, image, weight, vector
    found = run(*case, name="gradient", implementation=INTERPRETED, deterministic=False)
    assert_same(found, run(*case, name="gradient", implementation="xla"), 1e-4)


def test_a_batch_equals_a_loop(make_sites, reference, assert_same):
    cases = [problem(make_sites, reference, (6, 9), 12, 3, 4, 1) for _ in range(2)]
    cases[1] = (make_sites(12, 3, (6, 9), seed=7), *cases[1][1:])
    one = partial(run, name="pull back", implementation=INTERPRETED)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    together = jax.jit(jax.vmap(one))(*stacked)
    for i, case in enumerate(cases):
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], together), one(*case), 1e-5)


def test_kernels_run_inside_scan_and_checkpoint(make_sites, reference, assert_same):
    sites, lists, image, *_ = problem(make_sites, reference, (6, 9), 12, 3, 4, 1)

    @partial(jax.jit, static_argnums=0)
    def descend(implementation):
        def loss(sites):
            picture = sad.render(sites, lists, implementation=implementation)
            return jnp.sum((picture - image) ** 2)

        def step(sites, _):
            slope = jax.grad(jax.checkpoint(loss))(sites)
            return jax.tree.map(lambda a, g: a - 1e-3 * g, sites, slope), loss(sites)

        return jax.lax.scan(step, jax.tree.map(jnp.asarray, sites), None, length=2)

    assert_same(descend(INTERPRETED), descend("xla"), 1e-4)


@pytest.mark.parametrize(("shape", "n", "channels", "k", "cell"), [CASES[i] for i in (0, 2, 3)])
def test_propagated_lists_are_those_of_xla(make_sites, reference, shape, n, channels, k, cell):
    sites = make_sites(n, channels, shape)
    start = sad.seed_candidates(sites, shape, key=jax.random.key(0), k=k, cell=cell)
    step = partial(sad.propagate, start, sites, key=jax.random.key(1))
    found, expected = step(implementation=INTERPRETED), step(implementation="xla")
    ids, other = np.asarray(found.ids), np.asarray(expected.ids)
    assert int(found.passes) == 1
    assert (np.diff(np.sort(ids, -1), axis=-1) > 0).all(), "a site twice in a list"
    points = reference.centers(shape, cell)
    of = lambda ids: np.take_along_axis(  # noqa: E731
        reference.scores(sites, points, max(shape)), ids.reshape(len(points), -1), 1
    )
    np.testing.assert_allclose(of(ids), of(other), rtol=1e-4, atol=1e-3)
    assert np.mean(ids == other) > 0.99


def test_equal_scores_are_merged_by_id(make_sites):
    from kernels_pallas.propagate import merge
    from sad_jax.score import site_rows

    sites = jax.tree.map(lambda leaf: np.repeat(leaf, 9, 0), make_sites(1))
    ids = jnp.asarray([7, 3, 7, 8, 0, 3], jnp.int32)[None, :, None] * jnp.ones((1, 1, 4), jnp.int32)
    found = jax.jit(
        lambda sites: merge(
            site_rows(sites, 16), ids, jnp.zeros((1, 2, 4)), 4, kernels_pallas.INTERPRETED
        )
    )(sites)
    assert found[0, :, 0].tolist() == [0, 3, 7, 8]


def test_pallas_runs_or_says_why_not(make_sites, monkeypatch):
    draw = partial(sad.render, make_sites(4), (3, 3))
    with pytest.raises(NotImplementedError, match=r"expected a CUDA GPU .* got cpu; use impl"):
        draw(implementation="pallas")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(NotImplementedError, match=r"capability 8\.0 .* got none"):
        draw(implementation="pallas")
    assert launch_of(None, 8, np.dtype("float32")) is None
    with pytest.raises(NotImplementedError, match=r"expected lists of 1 to 32 sites .* got 33"):
        launch_of("pallas", 33, np.dtype("float32"))
    with pytest.raises(NotImplementedError, match=r"expected sites in float32 .* got float64"):
        launch_of("pallas", 8, np.dtype("float64"))


def test_kernels_have_no_second_derivative(make_sites, reference):
    sites = make_sites(4)
    lists = reference.lists(sites, (3, 3))
    slope = jax.grad(lambda s: jnp.sum(sad.render(s, lists, implementation=INTERPRETED) ** 2))
    with pytest.raises(TypeError, match=r'expected implementation="xla" .* got a Pallas kernel'):
        jax.jvp(slope, (sites,), (sites,))


@pytest.mark.parametrize("capability", ["8.0", "9.0", "12.0"])
def test_none_chooses_the_kernels_on_a_gpu(monkeypatch, capability):
    class Gpu:
        compute_capability = capability

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [Gpu()])
    assert launch_of(None, 8, np.dtype("float32")) == Launch()
    assert launch_of("pallas", 8, np.dtype("float32")) == Launch()
    assert launch_of("xla", 8, np.dtype("float32")) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 100}, "power of two of lanes, got 100"),
        ({"pixels": 3}, "1, 2 or 4 pixels at once, got 3"),
        ({"gather": "both"}, "expected gather of .* got 'both'"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Launch(**options)


LOWERED = {
    gpu_compile.render: ["sad_blend"],
    gpu_compile.gradient: ["sad_blend", "sad_sites"],
    gpu_compile.gradient_and_curvature: ["sad_blend", "sad_sites"],
    gpu_compile.change_of_picture: ["sad_blend"],
    gpu_compile.merge: ["sad_merge"],
    gpu_compile.search: ["sad_search"],
    gpu_compile.render_gradient: ["sad_blend", "sad_blend", "sad_sites"],
    gpu_compile.propagation: ["sad_merge"],
    gpu_compile.gauss_newton_step: ["sad_blend"] * 4 + ["sad_sites"] * 2,
    gpu_compile.adam_step: ["sad_blend", "sad_merge", "sad_sites"],
}


def kernels_in(lowered) -> list[str]:
    """The names of the kernels in a lowered function, each as often as it is called."""
    return sorted(re.findall(r'name = "(sad_\w+)", num_stages', lowered.as_text()))


@pytest.mark.parametrize("function", LOWERED, ids=lambda function: function.__name__)
def test_kernels_are_lowered_for_cuda(function):
    """Render, its gradient, the passes, propagation, and whole steps of both recipes."""
    lowered = gpu_compile.lower(function, gpu_compile.Case(cell=2).make())
    assert kernels_in(lowered) == sorted(LOWERED[function])


def test_a_batch_is_lowered_for_cuda():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), gpu_compile.Case().make())
    lowered = gpu_compile.lower(jax.vmap(gpu_compile.render_gradient), batch)
    assert kernels_in(lowered) == LOWERED[gpu_compile.render_gradient]


@pytest.mark.parametrize("option", ["cells of 4", "gathered outside", "K = 32", "8 channels"])
def test_options_are_lowered_for_cuda(option):
    case = gpu_compile.CASES[option]
    lowered = gpu_compile.lower(gpu_compile.gradient, case.make(), case.launch)
    assert kernels_in(lowered) == ["sad_blend", "sad_sites"]


def test_atomic_additions_are_lowered_for_cuda():
    lowered = gpu_compile.lower(gpu_compile.gradient, gpu_compile.CASES[gpu_compile.ATOMIC].make())
    assert kernels_in(lowered) == ["sad_slots"]


@pytest.mark.h200
@pytest.mark.filterwarnings("default")  # the plugin finds no driver, and says so
@pytest.mark.parametrize(("option", "function"), gpu_compile.WORK)
def test_no_kernel_spills_registers_on_an_h200(option, function):
    case = gpu_compile.CASES[option]
    gpu_compile.compile_h200(function, case.make(), case.launch, **gpu_compile.FAIL_ON_SPILLS)


@pytest.mark.h200
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("function", gpu_compile.STEPS, ids=lambda function: function.__name__)
def test_whole_steps_compile_for_an_h200(function):
    gpu_compile.compile_h200(function, gpu_compile.Case().make(), **gpu_compile.FAIL_ON_SPILLS)
