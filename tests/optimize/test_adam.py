"""The published optimiser against its recipe written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sad_jax.optimize.adam import diffuse_log_tau, paper_optimizer, scale_by_isotropic_adam

RATES = {
    "position": 0.025,
    "log_tau": 0.01,
    "radius": 0.01,
    "color": 0.01,
    "direction": 0.0025,
    "log_aniso": 0.025,
}
VECTORS = ("position", "direction")


def diffused(raw: np.ndarray, neighbours: np.ndarray, progress: float) -> np.ndarray:
    """4 Jacobi passes of g <- (g_raw + lambda sum g_n) / (1 + lambda count), site by site."""
    strength = 0.05 * (0.1 + 0.9 * progress)
    smooth = raw.astype(np.float64)
    for _ in range(4):
        before = smooth.copy()
        for i, row in enumerate(neighbours):
            others = [n for n in row if n != i]
            smooth[i] = (raw[i] + strength * sum(before[others])) / (1 + strength * len(others))
    return smooth


def lists_of(rng, n: int, k: int) -> np.ndarray:
    """K distinct ids a site; its own is among them for most."""
    return np.stack([rng.permutation(n)[:k] for _ in range(n)]).astype(np.int32)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_log_tau_is_diffused_over_the_other_sites_of_its_list(make_sites, progress):
    rng = np.random.default_rng(0)
    gradients, neighbours = make_sites(9), lists_of(rng, 9, 4)
    found, _ = diffuse_log_tau().update(
        gradients, optax.EmptyState(), neighbours=neighbours, progress=progress
    )
    expected = diffused(gradients.log_tau, neighbours, progress)
    np.testing.assert_allclose(found.log_tau, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.color, gradients.color)


def test_three_updates_equal_the_recipe_written_out(make_sites):
    rng = np.random.default_rng(0)
    params, neighbours = make_sites(7, 4), lists_of(rng, 7, 3)
    optimizer = paper_optimizer()
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    first = dict.fromkeys(RATES, 0.0)
    second = dict.fromkeys(RATES, 0.0)
    for step in range(1, 4):
        gradients = jax.tree.map(
            lambda leaf: (rng.normal(size=leaf.shape) * 1e-6).astype(np.float32), params
        )
        found, state = update(
            gradients, state, params, neighbours=neighbours, progress=jnp.float32(step / 10)
        )
        for name, rate in RATES.items():
            g = np.asarray(getattr(gradients, name), np.float64)
            if name == "log_tau":
                g = diffused(g, neighbours, step / 10)
            square = (g**2).sum(1, keepdims=True) if name in VECTORS else g**2
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * square
            m, v = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            expected = -rate * m / (np.sqrt(v) + 1e-8)
            np.testing.assert_allclose(getattr(found, name), expected, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("name", VECTORS)
def test_first_steps_of_vectors_have_the_gradient_s_direction(make_sites, name):
    gradients = make_sites(5)
    adam = scale_by_isotropic_adam()
    found, _ = adam.update(gradients, adam.init(gradients))
    gradient = getattr(gradients, name)
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(getattr(found, name), unit, rtol=1e-4)


def test_quiet_sites_are_damped_by_epsilon(make_sites):
    """Gradients of a mean over pixels are of epsilon's size, so epsilon is no detail."""
    gradients = make_sites(3).replace(radius=np.asarray([1e-8, 1e-6, 0], np.float32))
    adam = scale_by_isotropic_adam()
    found, _ = adam.update(gradients, adam.init(gradients))
    np.testing.assert_allclose(found.radius, [0.5, 1 / 1.01, 0], rtol=1e-3)
