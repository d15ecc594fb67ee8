"""Lists kept by propagation: well formed at every step, and soon the exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.lists.candidates import new_lists
from sad_jax.lists.flooding import merge, offer_at_home
from sad_jax.model.score import site_rows
from sad_jax.model.sites import PARKED_RADIUS, hilbert_index

CASES = [  # shape, sites, K, cell
    ((1, 1), 1, 8, 1),
    ((1, 37), 5, 8, 2),
    ((13, 22), 90, 1, 4),
    ((13, 22), 90, 32, 2),
    ((150, 120), 300, 3, 1),  # more cells than one block holds
]


def check_lists(reference, sites, lists, n, k, cell, shift=0.0):
    """K = min(K, N) distinct sites a cell, by rising score at the cell's centre."""
    height, width = lists.canvas.shape
    assert lists.ids.shape == (-(-height // cell), -(-width // cell), min(k, n))
    assert lists.ids.dtype == np.int32
    ids = np.asarray(lists.ids).reshape(-1, lists.k)
    assert ids.min() >= 0
    assert ids.max() < n
    assert (np.diff(np.sort(ids, 1), axis=1) > 0).all(), "a site twice in a list"
    points = reference.centers((height, width), cell) + shift
    points = np.minimum(points, [width - 1, height - 1]) if shift else points
    size = max(height, width)
    scores = np.take_along_axis(reference.scores(sites, points, size), ids, 1)
    room = np.take_along_axis(reference.rounding(sites, points, size), ids, 1)
    assert (np.diff(scores, axis=1) >= -room[:, 1:] - room[:, :-1]).all(), "not by rising score"


def recall(lists, exact) -> float:
    """Share of the exact lists' sites that the lists hold."""
    return np.mean((lists.ids[..., :, None] == exact.ids[..., None, :]).any(-2))


@pytest.mark.parametrize(("shape", "n", "k", "cell"), CASES)
def test_seeded_and_propagated_lists_are_well_formed(make_sites, reference, shape, n, k, cell):
    sites = make_sites(n, shape=shape)
    lists = sad.seed_candidates(sites, shape, key=jax.random.key(0), k=k, cell=cell)
    assert int(lists.passes) == 0
    check_lists(reference, sites, lists, n, k, cell)
    for step in range(3):
        lists = sad.propagate(sites, lists, key=jax.random.key(step))
        check_lists(reference, sites, lists, n, k, cell)
    assert int(lists.passes) == 3


@pytest.mark.parametrize(("shape", "n", "k", "cell"), CASES[1:3])
def test_flooded_lists_are_well_formed_half_a_pixel_off(make_sites, reference, shape, n, k, cell):
    sites = make_sites(n, shape=shape)
    lists = sad.flood_candidates(sites, shape, key=jax.random.key(0), passes=2, k=k, cell=cell)
    check_lists(reference, sites, lists, n, k, cell, shift=0.5)


@pytest.mark.slow
def test_propagation_finds_the_exact_lists(make_sites):
    """Sites spread evenly as in a fit: a few passes, as a scan's body."""
    shape = (45, 62)
    sites = make_sites(150, shape=shape)
    sites = sites.replace(
        log_tau=sites.log_tau * 0.1 + 6, log_aniso=sites.log_aniso * 0.4, radius=sites.radius * 0.5
    )
    exact = sad.find_candidates(sites, shape)
    start = sad.seed_candidates(sites, shape, key=jax.random.key(3))

    @jax.jit
    def run(lists, keys):
        step = lambda lists, key: (sad.propagate(sites, lists, key=key), None)  # noqa: E731
        return jax.lax.scan(step, lists, keys)[0]

    lists = run(start, jax.random.split(jax.random.key(4), 16))
    assert int(lists.passes) == 16
    assert recall(start, exact) < 0.6
    assert recall(lists, exact) > 0.99
    np.testing.assert_array_equal(run(exact, jax.random.split(jax.random.key(5), 2)).ids, exact.ids)


def test_the_same_key_gives_the_same_lists_and_another_one_others(make_sites):
    sites = make_sites(40)
    seed = lambda key: sad.seed_candidates(sites, (12, 16), key=jax.random.key(key))  # noqa: E731
    once = sad.propagate(sites, seed(0), key=jax.random.key(1))
    np.testing.assert_array_equal(seed(0).ids, seed(0).ids)
    np.testing.assert_array_equal(
        once.ids, sad.propagate(sites, seed(0), key=jax.random.key(1)).ids
    )
    assert np.any(once.ids != sad.propagate(sites, seed(0), key=jax.random.key(2)).ids)
    assert np.any(seed(0).ids != seed(1).ids)


def test_propagation_of_a_batch_equals_that_of_each(make_sites):
    batch = [make_sites(40, seed=seed) for seed in range(2)]
    keys = jax.random.split(jax.random.key(0), 2)

    def run(sites, key):
        lists = sad.seed_candidates(sites, (12, 16), key=key)
        return sad.propagate(sites, lists, key=key)

    together = jax.jit(jax.vmap(run))(jax.tree.map(lambda *leaves: np.stack(leaves), *batch), keys)
    for i, sites in enumerate(batch):
        np.testing.assert_array_equal(run(sites, keys[i]).ids, together.ids[i])


@pytest.mark.parametrize("make", ["seed", "propagate", "flood"])
def test_parked_sites_are_in_no_list_while_others_are_left(make_sites, make):
    sites = make_sites(40)
    parked = np.arange(40) % 4 == 1
    sites = sites.replace(radius=np.where(parked, PARKED_RADIUS, sites.radius))
    key = jax.random.key(0)
    if make == "flood":
        lists = sad.flood_candidates(sites, (12, 16), key=key, passes=4)
    else:
        lists = sad.seed_candidates(sites, (12, 16), key=key)
    if make == "seed":  # a random start may hold them, after the others
        order = np.diff(parked[np.asarray(lists.ids)].astype(int), axis=-1)
        assert (order >= 0).all()
        return
    for step in range(4):
        lists = sad.propagate(sites, lists, key=jax.random.key(step))
    assert not parked[np.asarray(lists.ids)].any()


def test_every_site_is_offered_to_the_cell_on_which_it_stands(make_sites):
    """Sites that are nearest at home, up to four in one cell, are in its list from the start."""
    corners = np.stack(np.meshgrid(np.arange(0, 16, 2), np.arange(0, 12, 2)), -1).reshape(-1, 2)
    position = np.concatenate([corners + d for d in ([0, 0], [0.3, 0], [0, 0.3], [0.3, 0.3])])
    sites = make_sites(len(position)).replace(
        position=position.astype(np.float32),
        radius=np.ones(len(position), np.float32),
        log_aniso=np.zeros(len(position), np.float32),
        log_tau=np.full(len(position), 5, np.float32),
    )
    lists = sad.seed_candidates(sites, (12, 16), key=jax.random.key(0))
    column, row = np.round(position).astype(int).T
    home = np.asarray(lists.ids)[row, column]
    assert (home == np.arange(len(position))[:, None]).any(1).all()


def test_a_newborn_site_is_offered_to_the_list_of_its_cell_alone(make_sites):
    sites = make_sites(40).replace(position=np.full((40, 2), [7.2, 3.1], np.float32))
    ids = jnp.broadcast_to(jnp.arange(1, 9, dtype=jnp.int32), (12, 16, 8))
    lists = new_lists(ids, sad.Canvas((12, 16)), sites, passes=5)
    strong = sites.replace(radius=np.where(np.arange(40) == 0, 300, sites.radius))
    offered = jnp.full(40, 99.0).at[0].set(7.2)  # the others stand in the last column
    strong = strong.replace(position=jnp.stack([offered, jnp.full(40, 3.1)], -1))
    found = np.asarray(jax.jit(offer_at_home)(strong, lists).ids)
    assert np.argwhere((found == 0).any(-1)).tolist() == [[3, 7]]
    assert found[3, 7, 0] == 0


@pytest.mark.parametrize("k", [1, 7])
def test_merge_keeps_the_best_without_repeats(make_sites, reference, k):
    sites = make_sites(15)
    rng = np.random.default_rng(0)
    lanes = 50
    ids = np.concatenate([np.tile(np.arange(k)[:, None], lanes), rng.integers(0, 15, (9, lanes))])
    ids = ids.astype(np.int32)
    points = rng.uniform(0, 12, (lanes, 2))
    x, y = points.astype(np.float32).T
    best = jax.jit(lambda sites: merge(site_rows(sites, 16), jnp.asarray(ids), x, y, k))
    found = np.asarray(best(sites))
    scores = reference.scores(sites, points, 16)
    for lane in range(lanes):
        distinct = sorted(set(ids[:, lane]), key=lambda i: scores[lane, i])
        np.testing.assert_array_equal(found[:, lane], distinct[:k])


def test_the_hilbert_curve_visits_every_pixel_and_steps_to_neighbours():
    y, x = np.divmod(np.arange(256), 16)
    index = np.asarray(hilbert_index(np.stack([x, y], -1).astype(np.float32), 16))
    assert sorted(index) == list(range(256))
    order = np.argsort(index)
    steps = np.abs(np.diff(x[order])) + np.abs(np.diff(y[order]))
    assert (steps == 1).all()


def test_merge_orders_equal_scores_by_id(make_sites):
    sites = jax.tree.map(lambda leaf: np.repeat(leaf, 9, 0), make_sites(1))
    ids = jnp.asarray([[7], [3], [7], [8], [0], [3]], jnp.int32)
    zero = jnp.zeros(1)
    found = jax.jit(lambda sites: merge(site_rows(sites, 16), ids, zero, zero, 4))(sites)
    assert found[:, 0].tolist() == [0, 3, 7, 8]


@pytest.mark.usefixtures("x64")
def test_ids_stay_int32_in_float64(make_sites, reference):
    sites = reference.double(make_sites(20))
    lists = sad.seed_candidates(sites, (6, 7), key=jax.random.key(0), k=2)
    lists = sad.propagate(sites, lists, key=jax.random.key(1))
    assert lists.ids.dtype == lists.passes.dtype == np.int32


def test_candidates_are_a_pytree_with_static_geometry(make_sites):
    lists = sad.find_candidates(make_sites(9), (12, 16), k=5, cell=2)
    leaves, tree = jax.tree.flatten(lists)
    assert [leaf.shape for leaf in leaves] == [(6, 8, 5), ()]
    again = jax.tree.unflatten(tree, leaves)
    assert again.canvas == sad.Canvas((12, 16), k=5, cell=2)
    assert again.num_sites == 9
