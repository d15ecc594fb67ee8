"""The published schedule of splits and prunings meets any budget."""

from functools import partial

import numpy as np
import pytest

import sad_jax as sad
from sad_jax.fitting.paper import Schedule

RECIPE = sad.PaperRecipe()
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
