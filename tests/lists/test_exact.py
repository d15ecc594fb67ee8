"""Exact lists: equal to brute force over all sites, however the sites lie; the kernel likewise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kernels_pallas
import sad_jax as sad
from kernels_pallas import search_lists
from sad_jax.lists import grouping
from sad_jax.model.score import site_rows
from sad_jax.model.sites import PARKED_RADIUS, clamp, park


def scattered(make_sites, kind: str, n: int, shape: tuple[int, int]):
    """Sites as a fit might leave them at its worst."""
    rng = np.random.default_rng(7)
    sites = make_sites(n, shape=shape, seed=5)
    corner = np.asarray([shape[1] - 1, shape[0] - 1])
    fields = {
        "random": {},
        "clustered": {
            "position": np.clip(rng.normal(0.3 * corner, 0.02 * corner + 0.1, (n, 2)), 0, corner)
        },
        "collinear": {"position": np.linspace(0, 1, n)[:, None] * corner},
        "anisotropic": {"log_aniso": rng.choice([-4, 4], n)},
        "mixed tau": {"log_tau": rng.uniform(-2, 12, n)},
        "mixed radius": {"radius": np.exp(rng.uniform(0, np.log(512), n))},
        "one point": {"position": np.tile(corner / 3, (n, 1))},
        "everything": {
            "log_tau": rng.uniform(-2, 12, n),
            "log_aniso": rng.uniform(-4, 4, n),
            "radius": np.exp(rng.uniform(0, np.log(512), n)),
        },
    }[kind]
    return sites.replace(**{name: np.asarray(f, np.float32) for name, f in fields.items()})


KINDS = (
    "random",
    "clustered",
    "collinear",
    "anisotropic",
    "mixed tau",
    "mixed radius",
    "one point",
    "everything",
)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_equal_brute_force_for_any_kind_of_sites(make_sites, reference, kind):
    shape = (37, 83)  # more than one block, no multiple of a tile
    sites = scattered(make_sites, kind, 300, shape)
    lists = sad.find_candidates(sites, shape)
    assert lists.ids.shape == (*shape, 8)
    assert lists.ids.dtype == np.int32
    reference.check_exact(sites, lists)


@pytest.mark.parametrize(
    ("shape", "n", "k", "cell"),
    [
        ((1, 1), 1, 8, 1),
        ((1, 37), 40, 8, 1),
        ((29, 1), 5, 8, 4),
        ((17, 23), 1, 1, 1),
        ((17, 23), 7, 32, 4),
        ((17, 23), 60, 32, 1),
        ((150, 70), 600, 8, 1),
        ((150, 271), 900, 6, 2),
    ],
)
def test_lists_equal_brute_force_for_any_size(make_sites, reference, shape, n, k, cell):
    sites = scattered(make_sites, "everything", n, shape)
    lists = sad.find_candidates(sites, shape, k=k, cell=cell)
    cells = (-(-shape[0] // cell), -(-shape[1] // cell))
    assert lists.ids.shape == (*cells, min(k, n))
    assert lists.canvas == sad.Canvas(shape, k=k, cell=cell)
    assert (lists.k, lists.num_sites) == (min(k, n), n)
    reference.check_exact(sites, lists)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_a_while_ago_do_not_change_the_result(make_sites, reference, kind):
    shape = (45, 150)  # more than one region
    before = scattered(make_sites, kind, 200, shape)
    near = sad.find_candidates(before, shape)
    rng = np.random.default_rng(8)
    moved = before.position + rng.normal(0, 2, before.position.shape)
    sites = clamp(before.replace(position=moved.astype(np.float32)), shape)
    sites = park(sites, rng.choice(200, 40, replace=False))
    reference.check_exact(sites, sad.find_candidates(sites, shape, near=near))


def test_lists_of_another_shape_are_refused(make_sites):
    sites = make_sites(20, shape=(9, 11), seed=0)
    near = sad.find_candidates(sites, (9, 11), k=4)
    with pytest.raises(ValueError, match=r"expected near lists of shape \(9, 11, 8\)"):
        sad.find_candidates(sites, (9, 11), near=near)


@pytest.mark.slow
def test_more_sites_than_one_chunk_lose_none(make_sites, reference):
    shape = (12, 70)
    sites = scattered(make_sites, "mixed tau", 5000, shape)
    reference.check_exact(sites, sad.find_candidates(sites, shape))


def test_equal_scores_are_ordered_by_id(make_sites, reference):
    """Every site stands there three times, far apart in the array: ties in every list."""
    base = make_sites(40, shape=(37, 83))
    sites = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf, leaf]), base)
    ids = np.asarray(sad.find_candidates(sites, (37, 83), k=9).ids).reshape(-1, 3, 3)
    once = np.asarray(reference.lists(base, (37, 83), 3).ids).reshape(-1, 3)
    np.testing.assert_array_equal(ids, once[..., None] + np.asarray([0, 40, 80]))


@pytest.mark.slow
def test_of_equal_sites_the_first_ones_make_the_list(make_sites):
    sites = jax.tree.map(lambda leaf: np.repeat(leaf, 4500, 0), make_sites(1))
    ids = sad.find_candidates(sites, (12, 16), k=5).ids
    np.testing.assert_array_equal(ids, np.broadcast_to(np.arange(5), (12, 16, 5)))


@pytest.mark.slow
def test_lists_are_the_same_under_jit_and_vmap_and_every_time(make_sites):
    batch = [scattered(make_sites, kind, 30, (11, 13)) for kind in ("random", "everything")]
    find = lambda sites: sad.find_candidates(sites, (11, 13)).ids  # noqa: E731
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batch)
    together = jax.vmap(find)(stacked)
    for sites, ids in zip(batch, together, strict=True):
        np.testing.assert_array_equal(find(sites), ids)
        np.testing.assert_array_equal(find(sites), ids)
        np.testing.assert_array_equal(jax.jit(find)(sites), ids)


@pytest.mark.usefixtures("x64")
def test_lists_in_float64_are_exact_too(make_sites, reference):
    sites = reference.double(scattered(make_sites, "everything", 60, (17, 23)))
    lists = sad.find_candidates(sites, (17, 23))
    assert lists.ids.dtype == np.int32
    reference.check_exact(sites, lists)


def test_parked_sites_are_in_no_list_while_others_are_left(make_sites):
    sites = make_sites(30)
    parked = np.arange(30) % 3 == 1
    sites = sites.replace(radius=np.where(parked, PARKED_RADIUS, sites.radius))
    ids = np.asarray(sad.find_candidates(sites, (12, 16), k=20).ids)
    assert not parked[ids].any()


@pytest.mark.slow
def test_no_gradient_flows_through_the_choice(make_sites):
    total = lambda sites: sad.find_candidates(sites, (4, 5)).ids.sum().astype(float)  # noqa: E731
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.grad(total)(make_sites(9))))


def test_a_canvas_brings_its_own_k_and_cell(make_sites):
    canvas = sad.Canvas((12, 16), k=5, cell=2)
    lists = jax.eval_shape(lambda sites: sad.find_candidates(sites, canvas), make_sites(9))
    assert (lists.k, lists.canvas, lists.ids.shape) == (5, canvas, (6, 8, 5))


interpreted = partial(sad.find_candidates, implementation="pallas_interpret")


@pytest.fixture
def small_groups(monkeypatch):
    """Groups of 4 sites, tiles of 8 x 8 cells, few at once: many of each in a small picture."""
    for name, value in {"GROUP": 4, "KERNEL_TILE": 8, "BOUNDS": 40}.items():
        monkeypatch.setattr(grouping, name, value)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(
    ("kind", "shape", "n", "k", "cell"),
    [
        ("everything", (23, 31), 59, 8, 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("everything", (1, 1), 30, 8, 1),
                ("random", (1, 29), 5, 8, 1),
                ("mixed tau", (24, 32), 57, 5, 2),
                ("anisotropic", (19, 9), 60, 3, 4),
                ("one point", (13, 17), 40, 32, 1),
            )
        ),
    ],
)
def test_the_kernel_finds_the_lists_of_xla(make_sites, reference, kind, shape, n, k, cell):
    """In every slot, also where weak sites from far away stand in the lists and others are parked.

    The first case has more tiles than are searched at once, the second one cell in its tile.
    """
    sites = scattered(make_sites, kind, n, shape)
    radius = np.where(np.arange(n) % 7 == 3, PARKED_RADIUS, sites.radius)
    sites = sites.replace(radius=radius.astype(np.float32))
    lists = interpreted(sites, shape, k=k, cell=cell)
    expected = sad.find_candidates(sites, shape, k=k, cell=cell, implementation="xla")
    assert lists.canvas == expected.canvas
    np.testing.assert_array_equal(lists.ids, expected.ids)
    reference.check_exact(sites, lists)


@pytest.mark.parametrize(
    ("kind", "shape", "n", "k", "cell"),
    [
        ("everything", (1, 1), 30, 8, 1),
        ("random", (1, 29), 5, 8, 1),
        ("everything", (23, 31), 59, 8, 1),
        pytest.param("mixed tau", (24, 32), 57, 5, 2, marks=pytest.mark.slow),
        pytest.param("anisotropic", (19, 9), 60, 3, 4, marks=pytest.mark.slow),
        pytest.param("one point", (13, 17), 40, 32, 1, marks=pytest.mark.slow),
        pytest.param("clustered", (70, 130), 300, 8, 1, marks=pytest.mark.slow),
    ],
)
def test_the_cpu_engine_finds_the_lists_of_xla(
    make_sites, reference, cpu_engine, kind, shape, n, k, cell
):
    """Where they differ, float32 cannot tell the scores apart."""
    sites = scattered(make_sites, kind, n, shape)
    radius = np.where(np.arange(n) % 7 == 3, PARKED_RADIUS, sites.radius)
    sites = sites.replace(radius=radius.astype(np.float32))
    find = partial(sad.find_candidates, sites, shape, k=k, cell=cell)
    expected = find(implementation="xla")
    lists = find(implementation=cpu_engine)
    reference.check_exact(sites, lists)
    assert np.mean(lists.ids == expected.ids) > 0.999


def test_the_cpu_engine_orders_equal_scores_by_id_also_in_a_batch(make_sites, cpu_engine):
    """Every site stands there three times."""
    bases = [make_sites(20, shape=(18, 20), seed=seed) for seed in (1, 2)]
    batch = [jax.tree.map(lambda leaf: np.concatenate([leaf] * 3), base) for base in bases]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batch)
    find = partial(sad.find_candidates, canvas=(18, 20), k=6, implementation=cpu_engine)
    for ids in jax.vmap(lambda sites: find(sites).ids)(stacked):
        np.testing.assert_array_equal(ids[..., 1:3] - ids[..., :1], [[[20, 40]] * 20] * 18)


@pytest.mark.slow
def test_the_kernel_orders_equal_scores_by_id_also_in_a_batch(make_sites):
    """Every site stands there three times, in groups and tiles of the usual size."""
    bases = [make_sites(20, shape=(18, 20), seed=seed) for seed in (1, 2)]
    batch = [jax.tree.map(lambda leaf: np.concatenate([leaf] * 3), base) for base in bases]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batch)
    together = jax.vmap(lambda sites: interpreted(sites, (18, 20), k=6).ids)(stacked)
    for sites, ids in zip(batch, np.asarray(together), strict=True):
        np.testing.assert_array_equal(ids, sad.find_candidates(sites, (18, 20), k=6).ids)
        np.testing.assert_array_equal(ids[..., 1:3] - ids[..., :1], [[[20, 40]] * 20] * 18)


def test_the_kernel_stops_where_no_list_can_change(make_sites):
    """By the bounds, which lie here: what they exclude is not looked at, what they allow is."""
    sites = make_sites(12)
    rows = jax.tree.map(lambda row: row.reshape(3, 4), site_rows(sites, 16))
    ids = jnp.arange(12, dtype=jnp.int32).reshape(3, 4)
    order = jnp.asarray([[1, 0, 2], [2, 1, 0]], jnp.int32)
    bound = jnp.asarray([[-1e9, 1e9, 1e9], [-1e9, -1e9, 1e9]], jnp.float32)
    find = jax.jit(partial(search_lists, k=4, launch=kernels_pallas.INTERPRETED))
    first, second = find(rows, ids, order, bound, jnp.full((2, 2, 32), 6.0))
    np.testing.assert_array_equal(np.sort(first, 0), np.arange(4, 8)[:, None] * np.ones((1, 32)))
    near = jax.tree.map(lambda leaf: leaf[4:], sites)
    best = 4 + sad.find_candidates(near, (12, 16), k=4).ids[6, 6]
    np.testing.assert_array_equal(second, best[:, None] * np.ones((1, 32), int))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 4), {}, "expected a canvas"),
        ((4, 4), {"k": 0}, "expected K from 1 to 32, got 0"),
        ((4, 4), {"k": 33}, "expected K from 1 to 32, got 33"),
        ((4, 4), {"cell": 3}, "expected a cell of 1, 2 or 4 pixels a side, got 3"),
        (
            (4, 4),
            {"implementation": "cuda"},
            "expected implementation None or one of .* got 'cuda'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make_sites, shape, options, message):
    with pytest.raises(ValueError, match=message):
        sad.find_candidates(make_sites(4), shape, **options)


def test_no_sites_are_refused(make_sites):
    with pytest.raises(ValueError, match="expected at least one site, got none"):
        sad.find_candidates(make_sites(0), (4, 4))
