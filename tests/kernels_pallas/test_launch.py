"""How kernels are launched: what is refused, and that the result does not depend on it."""

from dataclasses import replace

import pytest

from kernels_pallas import INTERPRETED, Launch
from sad_jax.backend import Backend


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


@pytest.mark.parametrize(
    "options",
    [
        {"gather": "outside", "lanes": 128},
        pytest.param({"lanes": 128, "pixels": 1}, marks=pytest.mark.slow),
    ],
)
def test_the_launch_does_not_change_the_result(make_case, run_pass, assert_same, options):
    """Rows gathered outside; several programs a block: 3 of 128 lanes."""
    case = make_case((38, 35), 30, 3, 4, 2)
    expected = run_pass(*case, name="change", backend=Backend("xla_vjp"))
    backend = Backend("pallas", replace(INTERPRETED, **options))
    assert_same(run_pass(*case, name="change", backend=backend), expected, 1e-4)
