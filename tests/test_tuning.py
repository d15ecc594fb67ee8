"""Rules for weights and numbers of sites: on a ridge whose best weight is known, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sad_jax import tuning

SHAPES = [((1, 2), (1, 1)), ((7, 5, 3), (1, 1)), ((9, 11), (4, 3)), ((6,), ()), ((4, 6, 2), (1,))]


@pytest.mark.parametrize(("shape", "block"), SHAPES)
@pytest.mark.parametrize("share", [1e-6, 0.3, 0.999999])
def test_whole_blocks_are_left_out_some_and_not_all(shape, block, share):
    out = np.asarray(tuning.hold_out(shape, share, key=jax.random.key(3), block=block))
    assert out.shape == shape
    assert 0 < out.sum() < out.size
    sizes = block or (1,) * len(shape)
    seen = []
    for corner in np.ndindex(*(-(-n // size) for n, size in zip(shape, sizes, strict=False))):
        part = out[tuple(slice(i * s, i * s + s) for i, s in zip(corner, sizes, strict=True))]
        assert part.all() or not part.any()
        seen.append(part.all())
    if share != 0.3:
        assert sum(seen) in (1, len(seen) - 1)


def test_the_share_is_the_mean_of_many_draws():
    draws = [tuning.hold_out((40, 40), 0.2, key=jax.random.key(i)).mean() for i in range(20)]
    np.testing.assert_allclose(np.mean(draws), 0.2, atol=0.01)


def ridge(weight: float, seen: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Smooths y by squares of second differences; the data that count are ``seen``."""
    second = np.diff(np.eye(len(y)), 2, axis=0)
    return np.linalg.solve(np.diag(seen) + weight * second.T @ second, seen * y)


@pytest.fixture(scope="module")
def noisy():
    """A smooth truth, its data with noise of 0.1, and rising weights."""
    truth = np.sin(np.linspace(0, 6, 120))
    return truth, truth + 0.1 * np.random.default_rng(0).normal(size=120), 10.0 ** np.arange(-2, 7)


def test_held_out_data_find_the_weight_that_is_best_for_the_truth(noisy):
    truth, data, weights = noisy
    out = [tuning.hold_out((120,), 0.2, key=jax.random.key(i)) for i in range(3)]
    predict = lambda weight, seen: ridge(weight, np.asarray(seen), data)  # noqa: E731
    found = tuning.by_held_out(predict, weights, data, out)
    of_truth = [np.sqrt(np.mean((ridge(w, np.ones(120), data) - truth) ** 2)) for w in weights]
    assert abs(list(weights).index(found.choice) - np.argmin(of_truth)) <= 1
    assert of_truth[0] > 3 * min(of_truth) < of_truth[-1] / 3
    by_hand = [
        [ridge(w, ~np.asarray(o), data)[np.asarray(o)] - data[np.asarray(o)] for o in out]
        for w in weights
    ]
    expected = [np.sqrt(np.mean([np.mean(e**2) for e in row])) for row in by_hand]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-6)


def test_the_discrepancy_is_that_of_the_noise(noisy):
    truth, data, weights = noisy
    predict = lambda weight: ridge(weight, np.ones(120), data)  # noqa: E731
    found = tuning.by_discrepancy(predict, weights, data, 0.1)
    assert list(weights)[len(found.errors) - 2] == found.choice
    assert found.errors[-2] <= 1 < found.errors[-1]
    assert np.sqrt(np.mean((predict(found.choice) - truth) ** 2)) < 0.05
    each = tuning.by_discrepancy(predict, weights, data, np.full(120, 0.1))
    assert each == found
    every = tuning.by_discrepancy(predict, weights, data, 10.0)
    assert every.choice == weights[-1]
    assert len(every.errors) == len(weights)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tuning.hold_out((4,), 1.0, key=jax.random.key(0)), "a share above 0 and below 1"),
        (lambda: tuning.hold_out((4,), 0.5, key=jax.random.key(0), block=(4,)), "two blocks"),
        (lambda: tuning.hold_out((4,), 0.5, key=jax.random.key(0), block=(1, 1)), "a block of"),
        (lambda: tuning.hold_out((4,), 0.5, key=0), "one JAX random key"),
        (lambda: tuning.by_held_out(None, [], np.ones(3), [np.ones(3, bool)]), "choices, got none"),
        (lambda: tuning.by_held_out(None, [1], np.ones(3), []), "rounds .* got none"),
        (
            lambda: tuning.by_held_out(None, [1], np.ones(3), [np.ones(3)]),
            r"bool\[3\] and not all false, got float64\[3\]",
        ),
        (
            lambda: tuning.by_held_out(lambda *_: jnp.ones(2), [1], np.ones(3), [np.ones(3, bool)]),
            r"the data's shape \(3,\), got \(2,\)",
        ),
        (
            lambda: tuning.by_discrepancy(lambda c: np.full(3, np.nan), [7], np.ones(3), 1.0),
            "finite predictions, got an error of nan for 7",
        ),
        (lambda: tuning.by_discrepancy(None, [1], np.ones(3), 0.0), "a noise above zero, got"),
        (
            lambda: tuning.by_discrepancy(lambda c: np.zeros(3), [7], np.ones(3), 0.5),
            "to within their noise, got 2 times the noise for 7",
        ),
    ],
)
def test_wrong_arguments_are_told_in_a_line(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
