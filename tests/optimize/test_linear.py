"""Linear algebra against numpy's."""

from functools import partial

import jax
import numpy as np
import pytest

from sad_jax.optimize import linear

close = partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", [(1,), (9, 1), (9, 100), (3, 1, 4, 128), (30, 1, 3, 8192)])
def test_an_inner_product_keeps_its_digits(shape):
    """Also of 737,280 numbers; one by one, float32 is off by 7e-6 there."""
    a, b = np.random.default_rng(0).uniform(0.5, 1, (2, *shape)).astype(np.float32)
    expected = np.vdot(a.astype(np.float64), b)
    np.testing.assert_allclose(jax.jit(linear.inner)(a, b), expected, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_conjugate_gradients_end_at_the_solution():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(12, 12))
    matrix, right = factor @ factor.T + np.eye(12), rng.normal(size=(3, 4))

    @partial(jax.jit, static_argnums=0)
    def run(iterations):
        product = lambda v: (matrix @ v.ravel()).reshape(v.shape)  # noqa: E731
        scale = np.diag(matrix).reshape(3, 4)
        return linear.conjugate_gradients(product, lambda r: r / scale, right, iterations)

    expected = np.linalg.solve(matrix, right.ravel()).reshape(3, 4)
    close(run(24), expected)
    assert np.abs(run(2) - expected).max() > 1e-3
    np.testing.assert_array_equal(run(0), 0 * right)


@pytest.mark.parametrize("second", [0.0, 1.0, -3.0])
def test_a_last_step_that_is_zero_or_parallel_changes_nothing(second):
    """The matrix of (a, second a) is singular; the minimum along a is -slope / aa."""
    matrix = 4.0 * np.outer([1, second], [1, second]).astype(np.float32)
    length = linear.minimize_in_plane(matrix, np.asarray([-2, -2 * second], np.float32))
    np.testing.assert_allclose(length, [0.5, 0], atol=1e-6)
    nothing = linear.minimize_in_plane(np.zeros((2, 2), np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(nothing, [0, 0])
