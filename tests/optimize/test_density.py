"""Splitting and pruning against brute force and hand calculation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sad_jax.optimize import density
from sad_jax.optimize.least_squares import make_target

SHAPE = (9, 11)
WORTH = 3.0


def case(make_sites, reference, k: int, cell: int, channels: int = 3):
    rng = np.random.default_rng(1)
    sites = make_sites(14, channels, SHAPE)
    sites = sites.replace(log_tau=np.asarray(sites.log_tau - 4, np.float32))  # soft: no weight is 1
    image = rng.uniform(size=(*SHAPE, channels)).astype(np.float32)
    weight = rng.uniform(0, 2, SHAPE).astype(np.float32)
    return sites, reference.lists(sites, SHAPE, k, cell), image, weight


@pytest.mark.parametrize(("k", "cell"), [(4, 1), (8, 2)])
def test_statistics_equal_brute_force(make_sites, reference, k, cell):
    """Removal costs by really taking each site out of all lists, which are held fixed."""
    sites, lists, image, weight = case(make_sites, reference, k, cell)
    target = make_target(lists.grid, jnp.asarray(image), jnp.asarray(weight))
    found = density.statistics(sites, lists, target)
    points, ids = reference.pixels(lists)
    weights = reference.weights(sites, points, ids, max(SHAPE))
    colors = sites.color[ids].astype(np.float64)
    wanted = image.reshape(-1, 3)
    squared = ((np.einsum("mk,mkc->mc", weights, colors) - wanted) ** 2).sum(1)
    share = weight.ravel()
    for i in range(14):
        pixel, slot = np.nonzero(ids == i)
        w, v = weights[pixel, slot], share[pixel]
        energy = v * w * squared[pixel]
        offset = points[pixel] - sites.position[i]
        mean = (energy[:, None] * offset).sum(0) / energy.sum()
        covariance = np.cov(offset.T, aweights=energy, ddof=0)
        others = weights[pixel].copy()
        others[np.arange(len(pixel)), slot] = 0
        others /= others.sum(1, keepdims=True)
        without = np.einsum("mk,mkc->mc", others, colors[pixel])
        removal = v * (((without - wanted[pixel]) ** 2).sum(1) - squared[pixel])
        np.testing.assert_allclose(found.mass[i], (v * w).sum(), rtol=1e-3)
        np.testing.assert_allclose(found.energy[i], energy.sum(), rtol=1e-3)
        np.testing.assert_allclose(found.removal[i], removal.sum(), rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(found.mean[i], mean, rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(found.covariance[i], covariance, rtol=1e-2, atol=5e-3)


def test_a_site_that_is_alone_costs_very_much_to_remove(make_sites, reference):
    sites, lists, image, _ = case(make_sites, reference, 1, 1)
    target = make_target(lists.grid, jnp.asarray(image))
    found = density.statistics(sites, lists, target)
    pixels = np.bincount(np.asarray(lists.ids).ravel(), minlength=14)
    np.testing.assert_allclose(found.removal, 1e6 * pixels)
    np.testing.assert_allclose(found.mass, pixels)


def test_the_worst_have_most_energy_over_mass_to_the_seven_tenths():
    stats = made_up(mass=np.asarray([4, 2, 0.9, 100, 1.5]), energy=np.asarray([3, 3, 99, 20, 50.0]))
    alive = np.asarray([True, True, True, True, False])
    assert density.worst(stats, alive, 3).tolist() == [1, 0, 3]
    assert density.worst(stats, alive, 9).tolist() == [1, 0, 3]
    assert density.worst(stats, alive, 0).tolist() == []


def test_the_cheapest_cost_least_ties_by_id():
    stats = made_up(removal=np.asarray([5, -1, 2, 2, -9.0]))
    alive = np.asarray([True, True, True, True, False])
    assert density.cheapest(stats, alive, 3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("equal", [7, 8, 64, 1000])
def test_of_equal_ones_as_many_are_taken_everywhere(equal):
    score = np.concatenate([np.full(equal, 2.0), [3.0, 1.0, -np.inf, np.nan]])
    for count in range(2, equal + 1):
        first, *others = density.largest(score, count + 1)
        assert first == equal  # the one that is larger
        assert len(others) == count
        assert others[0] == 0
        assert np.ptp(np.diff([*others, equal])) <= 1  # from one to the next


def made_up(**fields) -> density.Statistics:
    """Statistics of five sites."""
    ones = {
        "mass": np.ones(5),
        "energy": np.ones(5),
        "removal": np.ones(5),
        "mean": np.zeros((5, 2)),
        "covariance": np.tile(np.eye(2), (5, 1, 1)),
    }
    return density.Statistics(**(ones | fields))


def test_split_equals_a_calculation_by_hand(make_sites):
    image = np.random.default_rng(0).uniform(size=(60, 80, 3)).astype(np.float32)
    sites = make_sites(5, shape=(60, 80))
    position = np.array(sites.position)
    position[1], position[3] = (20, 30), (0, 0)
    sites = sites.replace(position=position)
    stats = made_up(
        mass=np.asarray([1, 64, 1, 1e6, 1.0]),
        mean=np.asarray([[0, 0], [5, -2.5], [0, 0], [0, 0], [0, 0]]),
        covariance=np.stack(
            [np.eye(2), np.diag([1, 9]), np.eye(2), np.diag([1e6, 1e-9]), np.eye(2)]
        ),
    )
    split, changed = density.split(sites, stats, image, np.asarray([1, 3]), np.asarray([4, 0]))
    edited = jax.tree.map(np.asarray, split)
    assert sorted(changed) == [0, 1, 3, 4]
    # Site 1: around (20, 30) + 0.6 (5, -2.5), sqrt(64) / 2 = 4 px along y, the axis of 9.
    children = np.asarray(edited.position)[[1, 4]]
    children = children[np.argsort(children[:, 1])]
    np.testing.assert_allclose(children, [[23, 24.5], [23, 32.5]], atol=1e-4)
    np.testing.assert_allclose(np.abs(edited.direction[1]), [0, 1], atol=1e-6)
    for child in (1, 4):
        column, row = np.round(edited.position[child]).astype(int)
        np.testing.assert_array_equal(edited.color[child], image[row, column])
        np.testing.assert_allclose(edited.log_tau[child], sites.log_tau[1] - 0.25, rtol=1e-6)
        np.testing.assert_allclose(edited.radius[child], max(sites.radius[1] * 0.85, 1), rtol=1e-6)
        np.testing.assert_allclose(edited.log_aniso[child], -0.5 * np.log(9), rtol=1e-4)
    # Site 3: 48 px at most, cut off at the picture's edge; log_aniso -2 at most.
    children = np.asarray(edited.position)[[3, 0]]
    np.testing.assert_allclose(np.sort(children[:, 0]), [0, 48], atol=1e-4)
    np.testing.assert_allclose(children[:, 1], 0, atol=1e-4)
    np.testing.assert_allclose(edited.log_aniso[[3, 0]], -2)
    for name in ("position", "log_tau", "radius", "color", "direction", "log_aniso"):
        np.testing.assert_array_equal(getattr(edited, name)[2], getattr(sites, name)[2])


def test_children_of_a_small_site_stand_a_pixel_and_a_half_off(make_sites):
    image = np.zeros((60, 80, 3), np.float32)
    sites = make_sites(5, shape=(60, 80)).replace(position=np.full((5, 2), 30, np.float32))
    edited, _ = density.split(sites, made_up(), image, np.asarray([0]), np.asarray([1]))
    away = np.linalg.norm(edited.position[:2] - 30, axis=1)
    np.testing.assert_allclose(away, 1.5, rtol=1e-4)


@pytest.mark.parametrize(("prunes", "most"), [(0, 3), (0, 100), (2, 4), (5, 100), (6, 1)])
def test_sites_are_moved_as_long_as_it_pays(prunes, most):
    rng = np.random.default_rng(3)
    removal, energy = rng.uniform(-0.1, 5, 9), rng.uniform(0, 1, 9)
    alive = np.arange(9) != 4
    stats = density.Statistics(np.ones(9), energy, removal, np.zeros((9, 2)), np.zeros((9, 2, 2)))
    cheap, rich = sorted(removal[alive])[prunes:], sorted(energy[alive], reverse=True)
    expected = 0
    while expected < min(most, len(cheap)) and cheap[expected] < WORTH * rich[expected]:
        expected += 1
    assert density.worth_moving(stats, alive, prunes, most, WORTH) == expected
    assert (prunes, most) != (0, 100) or 0 < expected < 8
