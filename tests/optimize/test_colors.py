"""Colours for frozen geometry against dense least squares."""

import jax.numpy as jnp
import numpy as np
import pytest

from sad_jax.optimize.colors import solve_colors
from sad_jax.optimize.least_squares import make_target


class Colors:
    """Soft sites with frozen lists, and the weights of all pixels, dense, in float64."""

    shape = (12, 16)

    def __init__(self, make_sites, reference):
        sites = make_sites(12, shape=self.shape)
        self.sites = sites.replace(log_tau=np.asarray(sites.log_tau - 3, np.float32))
        self.lists = reference.lists(self.sites, self.shape, 4)
        points, ids = reference.pixels(self.lists)
        self.weights = np.zeros((len(points), 12))
        np.put_along_axis(self.weights, ids, reference.weights(self.sites, points, ids, 16), 1)
        rng = np.random.default_rng(3)
        self.mask = rng.uniform(size=self.shape).astype(np.float32)
        self.noise = rng.normal(size=(*self.shape, 3))

    def solve(self, image: np.ndarray) -> np.ndarray:
        target = make_target(self.lists.grid, jnp.asarray(image), jnp.asarray(self.mask))
        solved, errors = solve_colors(self.sites, self.lists, target, iterations=20)
        total = self.error(np.asarray(solved.color), image)
        np.testing.assert_allclose(errors.mse, total / (3 * self.mask.sum()), rtol=1e-4)
        for name in ("position", "log_tau", "radius", "direction", "log_aniso"):
            np.testing.assert_array_equal(getattr(solved, name), getattr(self.sites, name))
        return np.asarray(solved.color)

    def error(self, colors: np.ndarray, image: np.ndarray) -> float:
        squared = (self.weights @ colors - image.reshape(-1, 3)) ** 2
        return np.sum(self.mask.ravel()[:, None] * squared)

    def optimum(self, image: np.ndarray) -> np.ndarray:
        root = np.sqrt(self.mask.ravel().astype(np.float64))[:, None]
        return np.linalg.lstsq(root * self.weights, root * image.reshape(-1, 3), rcond=None)[0]


@pytest.fixture(scope="module")
def colors(make_sites, reference) -> Colors:
    return Colors(make_sites, reference)


def test_solved_colors_are_those_of_least_squares(colors):
    wanted = np.random.default_rng(0).uniform(0.25, 0.75, (12, 3))
    image = (colors.weights @ wanted).reshape(*colors.shape, 3) + 0.02 * colors.noise
    image = image.astype(np.float32)
    best = colors.optimum(image)
    assert best.min() > 0
    assert best.max() < 1
    found = colors.solve(image)
    assert colors.error(found, image) <= colors.error(best, image) * (1 + 1e-4)
    np.testing.assert_allclose(found, best, atol=5e-3)


@pytest.mark.parametrize("contrast", [0.1, 0.5, 2.0])
def test_solved_colors_are_in_range_and_better_than_before(colors, contrast):
    image = (0.5 + contrast * colors.noise).clip(-1, 2).astype(np.float32)
    found = colors.solve(image)
    assert 0 <= found.min() <= found.max() <= 1
    assert colors.error(found, image) < colors.error(colors.sites.color, image)
    if contrast == 2:
        best = colors.optimum(image)
        assert best.min() < 0
        assert best.max() > 1
        assert found.min() == 0
        assert found.max() == 1
