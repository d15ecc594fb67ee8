"""The formula: values against the paper's quadratic form, derivatives against autodiff."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model import score as formula
from sad_jax.model.sites import Sites


@partial(jax.jit, static_argnums=2)
def table(sites: Sites, points: np.ndarray, size: int) -> jax.Array:
    """Scores [M, N] as the package computes them."""
    x, y = jnp.asarray(points).T
    return formula.score(formula.site_rows(sites, size), x[:, None], y[:, None])


def extreme(make_sites, n: int = 12) -> Sites:
    """Sites at the ends of their ranges: log_aniso +-4, tau from e^-2 to e^12."""
    sites = make_sites(n, shape=(9, 14))
    return sites.replace(
        log_aniso=np.where(np.arange(n) % 2, 4, -4).astype(np.float32),
        log_tau=np.linspace(-2, 12, n, dtype=np.float32),
    )


@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (1, 1), (1, 31), (200, 3)])
def test_scores_equal_the_quadratic_form(make_sites, reference, shape):
    sites = make_sites(20, shape=shape)
    points = reference.centers(shape)
    found = table(sites, points.astype(np.float32), max(shape))
    expected = reference.scores(sites, points, max(shape))
    assert (np.abs(found - expected) <= reference.rounding(sites, points, max(shape))).all()


@pytest.mark.usefixtures("x64")
def test_scores_equal_the_quadratic_form_in_float64(make_sites, reference):
    sites = reference.double(extreme(make_sites))
    points = reference.centers((9, 14))
    found = table(sites, points, 14)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, reference.scores(sites, points, 14), rtol=1e-10)


def test_length_and_sign_of_the_direction_do_not_count(make_sites):
    sites = make_sites(20)
    points = np.random.default_rng(0).uniform(0, 12, (30, 2)).astype(np.float32)
    other = sites.replace(direction=-2.5 * sites.direction)
    np.testing.assert_allclose(table(other, points, 16), table(sites, points, 16), rtol=1e-4)


def test_weights_are_the_softmax_of_the_negated_scores(make_sites, reference):
    sites = make_sites(8)
    points = reference.centers((12, 16))
    x, y = points.astype(np.float32).T
    rows = formula.Rows(*(row[:, None] for row in formula.site_rows(sites, 16)))
    everyone = np.tile(np.arange(8), (len(points), 1))
    expected = reference.weights(sites, points, everyone, 16)
    np.testing.assert_allclose(jax.jit(formula.softmax_weights)(rows, x, y).T, expected, atol=2e-5)


def test_weights_stay_finite_where_every_score_is_huge(make_sites):
    sites = extreme(make_sites).replace(log_tau=np.full(12, 12, np.float32))
    rows = formula.Rows(*(row[:, None] for row in formula.site_rows(sites, 14)))
    weights = formula.softmax_weights(rows, jnp.asarray([0.0, 1e6]), jnp.asarray([0.0, -1e6]))
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)


@partial(jax.jit, static_argnums=2)
def slope(sites: Sites, lists: sad.Candidates, implementation: str) -> Sites:
    """The gradient of the sum of the picture's values."""
    draw = partial(sad.render, lists=lists, implementation=implementation)
    return jax.grad(lambda sites: jnp.sum(draw(sites)))(sites)


@pytest.mark.parametrize("implementation", ["xla", "xla_vjp"])
@pytest.mark.parametrize("case", ["range ends", "on a pixel", "zero direction", "all alike"])
def test_gradients_are_finite_everywhere(make_sites, reference, implementation, case):
    sites = extreme(make_sites)
    if case == "on a pixel":
        sites = sites.replace(position=np.round(sites.position))
    if case == "zero direction":
        sites = sites.replace(direction=np.zeros_like(sites.direction))
    if case == "all alike":
        sites = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 12, 0), sites)
        sites = sites.replace(position=np.full((12, 2), 4, np.float32))
    lists = reference.lists(sites, (9, 14))
    found = slope(sites, lists, implementation)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
