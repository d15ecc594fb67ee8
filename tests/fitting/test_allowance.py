"""A fit's steps and seconds, by a clock that the test turns."""

import itertools
import math

import pytest

from sad_jax.fitting.allowance import ENDING, Allowance

BUDGET = 5.0


def run(allowed: Allowance, pace, at_once: int = 3) -> list[tuple[float, int, float]]:
    """Share, steps and seconds before every search, and at the end: ``pace`` is of a step."""
    step, seconds, seen = 0, allowed.begin, []
    while (share := allowed.share(step, seconds)) < 1:
        seen.append((share, step, seconds))
        count = at_once if share < 0.95 else 1
        step, seconds = step + count, seconds + count * pace(share)
    return [*seen, (1.0, step, seconds)]


PACES = {
    "a few pixels": lambda share: 0.0004,
    "half-size photographs": lambda share: 0.02 if share < 0.5 else 0.03,
    "slower and slower": lambda share: 0.01 + 0.2 * share**2,
    "large ones": lambda share: 0.15,
}


@pytest.mark.parametrize("name", PACES)
def test_a_time_budget_holds_the_whole_schedule_at_any_pace(name):
    pace = PACES[name]
    seen = run(Allowance(2**31 - 1, BUDGET, begin=1.0), pace)
    shares, steps, seconds = zip(*seen, strict=True)
    assert list(shares) == sorted(shares)
    assert max(b - a for a, b in itertools.pairwise(shares)) < 0.21
    ending = ENDING * (seconds[-1] - 1) / steps[-1]
    slowest = pace(1.0)
    assert BUDGET - slowest < seconds[-1] + ending < BUDGET + 3 * slowest


def test_more_time_means_more_steps():
    counts = [run(Allowance(10**9, budget), PACES["large ones"])[-1][1] for budget in (5, 10, 60)]
    assert counts[0] < counts[1] < counts[2]
    assert counts[2] > 350


def test_steps_end_a_fit_that_has_time_left():
    shares, steps, _ = zip(*run(Allowance(30, BUDGET), PACES["a few pixels"]), strict=True)
    assert steps[-1] == 30
    assert shares[:-1] == pytest.approx([step / 30 for step in steps[:-1]])


def test_without_a_time_budget_the_steps_alone_count():
    allowed = Allowance(40, math.inf)
    assert [allowed.share(step, 1e9) for step in (0, 10, 40)] == [0, 0.25, 1]
    assert [allowed.expected_steps(step, 1e9) for step in (0, 10, 40)] == [40, 40, 40]


def test_the_steps_to_come_are_told_from_the_pace():
    allowed = Allowance(1000, 10.0)
    assert allowed.expected_steps(100, 2.0) == round(100 * (10 - 0.12) / 2)
    assert allowed.expected_steps(100, 1e-3) == 1000
    assert allowed.expected_steps(100, 11.0) == 100
