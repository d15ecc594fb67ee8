"""Exact lists: equal to brute force over all sites, however the sites lie."""

import jax
import numpy as np
import pytest

import sad_jax as sad


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
    assert lists.shape == shape
    assert (lists.k, lists.cell) == (min(k, n), cell)
    reference.check_exact(sites, lists)


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


def test_of_equal_sites_the_first_ones_make_the_list(make_sites):
    sites = jax.tree.map(lambda leaf: np.repeat(leaf, 4500, 0), make_sites(1))
    ids = sad.find_candidates(sites, (12, 16), k=5).ids
    np.testing.assert_array_equal(ids, np.broadcast_to(np.arange(5), (12, 16, 5)))


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
    sites = sites.replace(radius=np.where(parked, sad.sites.PARKED_RADIUS, sites.radius))
    ids = np.asarray(sad.find_candidates(sites, (12, 16), k=20).ids)
    assert not parked[ids].any()


def test_no_gradient_flows_through_the_choice(make_sites):
    total = lambda sites: sad.find_candidates(sites, (4, 5)).ids.sum().astype(float)  # noqa: E731
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.grad(total)(make_sites(9))))


def test_a_canvas_brings_its_own_k_and_cell(make_sites):
    canvas = sad.Canvas((12, 16), k=5, cell=2)
    lists = jax.eval_shape(lambda sites: sad.find_candidates(sites, canvas), make_sites(9))
    assert (lists.k, lists.cell, lists.ids.shape) == (5, 2, (6, 8, 5))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 4), {}, "expected a canvas"),
        ((4, 4), {"k": 0}, "expected K from 1 to 32, got 0"),
        ((4, 4), {"k": 33}, "expected K from 1 to 32, got 33"),
        ((4, 4), {"cell": 3}, "expected a cell of 1, 2 or 4 pixels a side, got 3"),
    ],
)
def test_what_makes_no_sense_is_refused(make_sites, shape, options, message):
    with pytest.raises(ValueError, match=message):
        sad.find_candidates(make_sites(4), shape, **options)


def test_no_sites_are_refused(make_sites):
    with pytest.raises(ValueError, match="expected at least one site, got none"):
        sad.find_candidates(make_sites(0), (4, 4))
