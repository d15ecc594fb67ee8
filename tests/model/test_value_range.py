"""Ranges of values: the least that holds [0, 1], and maps to it and back."""

import numpy as np
import pytest

from sad_jax.model.value_range import ValueRange


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.7], (0, 1)),
        ([-1, 1], (-1, 1)),
        ([0.5, 2], (0, 2)),
        ([0, 1e4], (0, 1e4)),
        ([-1e30, 1e30], (-1e30, 1e30)),
        ([-3.0], (-3, 1)),
    ],
)
def test_values_are_mapped_to_0_and_1_and_back(values, expected):
    found = ValueRange.of(np.asarray(values, np.float32))
    assert found == pytest.approx(expected)
    unit = found.to_unit(values)
    assert unit.dtype == np.float32
    assert 0 <= unit.min() <= unit.max() <= 1
    again = found.from_unit(unit)
    np.testing.assert_allclose(again, values, rtol=1e-6, atol=1e-7 * (found.high - found.low))
    assert found.low <= again.min() <= again.max() <= found.high


def test_values_in_0_to_1_are_not_touched():
    values = np.random.default_rng(0).random(1000, np.float32)
    found = ValueRange.of(values)
    assert found.is_unit
    assert found.to_unit(values) is values
    assert found.from_unit(values) is values
