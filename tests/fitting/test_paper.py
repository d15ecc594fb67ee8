"""The published schedule of splits and prunings meets any budget."""

from functools import partial

import jax
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.fitting.paper import Schedule, fill_holes
from sad_jax.optimize import density

RECIPE = sad.PaperRecipe()
KEY = jax.random.key(0)
BUDGETS = [  # initial, budget, steps
    (128_000, 50_000, 4000),
    (32_000, 12_500, 4000),
    (32_000, 1_536, 4000),
    (3_000, 3_000, 4000),
    (1_000, 100, 1000),
    (40, 24, 200),
    (9, 1, 400),
    (1, 1, 4000),
]


def simulate(schedule: Schedule, alive: int, steps: int) -> list[int]:
    """Numbers of sites after every event of a run."""
    counts = [alive]
    for step in range(1, steps + 1):
        splits, prunes = schedule.changes(step, counts[-1])
        assert splits >= 0
        assert 0 <= prunes < max(counts[-1], 1)
        counts.append(counts[-1] + splits - prunes)
    return counts


@pytest.mark.parametrize(("initial", "budget", "steps"), BUDGETS)
def test_the_run_ends_with_the_budget(initial, budget, steps):
    schedule = Schedule(RECIPE, initial, budget, steps)
    counts = simulate(schedule, initial, steps)
    assert abs(counts[-1] - budget) <= max(2, 0.01 * budget)
    assert max(counts) <= schedule.capacity
    assert counts[0] >= counts[-1]


@pytest.mark.parametrize(("initial", "budget", "steps"), BUDGETS)
def test_no_site_is_split_or_pruned_outside_of_the_published_steps(initial, budget, steps):
    counts = np.asarray(simulate(Schedule(RECIPE, initial, budget, steps), initial, steps))
    changed = np.flatnonzero(np.diff(counts)) + 1
    assert (changed % 20 == 0).all()
    assert (changed <= 0.75 * steps).all()
    shrinking = np.flatnonzero(np.diff(counts) < 0) + 1
    assert (shrinking % 40 == 0).all()
    assert (shrinking >= 100).all()


def test_at_factor_one_the_shares_are_the_published_ones():
    schedule = Schedule(RECIPE, 32_000, 12_500, 4000)
    changes = partial(schedule.changes, factor=1.0)
    assert changes(20, 10_000) == (100, 0)
    assert changes(140, 10_000) == (100, 0)
    assert changes(120, 10_000) == (0, int(10_100 * 0.033) - 100)
    assert changes(21, 10_000) == (0, 0)
    assert changes(3020, 10_000) == (0, 0)


def test_of_sites_with_pixels_of_their_own_the_least_different_go_first(make_sites, reference):
    """A light of one pixel stays longer than dark sites of many; others go before them all."""
    sites = make_sites(5, 1, (4, 6))
    x = np.float32([0, 1.5, 2, 4, 5])
    sites = sites.replace(
        position=np.stack([x, np.ones_like(x)], -1),
        color=np.float32([[0], [0.1], [0.1], [1], [0.3]]),
        log_aniso=np.zeros(5, np.float32),
        radius=np.ones(5, np.float32),
        log_tau=np.full(5, 5, np.float32),
    )
    lists = reference.lists(sites, (4, 6), k=3)
    removal = np.float32([9e6, 7e6, 0.5, 1e6, 3e6])
    nothing = np.zeros(5, np.float32)
    stats = density.Statistics(nothing, nothing, removal, nothing, nothing)
    assert density.cheapest(stats, np.full(5, True), 5).tolist() == [2, 3, 4, 1, 0]
    filled = fill_holes(stats, sites, lists)
    np.testing.assert_allclose(
        filled.removal - density.HOLE * (removal > 1),
        [9 * 0.1**2, 7 * 0, 0.5, 0.7**2, 3 * 0.7**2],
        atol=1e-6,
    )
    assert density.cheapest(filled, np.full(5, True), 5).tolist() == [2, 1, 0, 3, 4]


@pytest.mark.slow
def test_one_bright_pixel_is_kept():
    """Though the sites on black pixels, which own more of them, must go."""
    image = np.zeros((12, 12, 3), np.float32)
    image[5, 7] = 1
    result = sad.fit(image, sad.FitConfig.paper(num_sites=10), key=jax.random.key(2))
    assert result.sites.num_sites <= 10
    assert result.psnr > 50
