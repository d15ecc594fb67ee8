"""The formula: values against the paper's quadratic form, derivatives against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model import score as formula
from sad_jax.model.sites import Sites


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
    np.testing.assert_allclose(formula.softmax_weights(rows, x, y).T, expected, atol=2e-5)


def test_weights_stay_finite_where_every_score_is_huge(make_sites):
    sites = extreme(make_sites).replace(log_tau=np.full(12, 12, np.float32))
    rows = formula.Rows(*(row[:, None] for row in formula.site_rows(sites, 14)))
    weights = formula.softmax_weights(rows, jnp.asarray([0.0, 1e6]), jnp.asarray([0.0, -1e6]))
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)


def logit(parameters: jax.Array, point: jax.Array, size: int) -> jax.Array:
    """-score as a function of (x, y, log_tau, radius, theta, a) [6, N]; point [2] -> [N]."""
    x, y, log_tau, radius, theta, a = parameters
    sites = Sites(
        position=jnp.stack([x, y], -1),
        log_tau=log_tau,
        radius=radius,
        color=jnp.zeros((len(x), 1)),
        direction=jnp.stack([jnp.cos(theta), jnp.sin(theta)], -1),
        log_aniso=a,
    )
    return -formula.score(formula.site_rows(sites, size), point[0], point[1])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("place", ["anywhere", "on the site", "just outside the floor"])
def test_chain_times_phi_is_the_derivative_of_the_logit(place):
    size, log_aniso = 23, np.asarray([-4, -4, -1.3, 0, 0, 0.7, 4, 4])
    n = len(log_aniso)
    rng = np.random.default_rng(3)
    parameters = jnp.asarray(
        [
            rng.uniform(0, 22, n),
            rng.uniform(0, 22, n),
            rng.uniform(-2, 12, n),
            rng.uniform(1, 30, n),
            rng.uniform(0, 6, n),
            log_aniso,
        ]
    )
    point = jnp.asarray([7.0, 11.0])
    offset = {"anywhere": None, "on the site": 0.0, "just outside the floor": 0.02}[place]
    if offset is not None:
        parameters = parameters.at[0].set(7 + offset).at[1].set(11 - offset)
    expected = jax.vmap(jax.jacfwd(lambda g: logit(g[:, None], point, size)[0]), 1)(parameters)
    x, y, log_tau, radius, theta, a = parameters
    direction = jnp.stack([jnp.cos(theta), jnp.sin(theta)], -1)
    sites = Sites(jnp.stack([x, y], -1), log_tau, radius, jnp.zeros((n, 1)), direction, a)
    rows = formula.site_rows(sites, size)
    entries = jnp.stack(formula.phi(rows, *point))
    found = jnp.einsum("gpn,pn->ng", formula.chain(rows, size), entries)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("length", [1.0, 0.3])
def test_gradient_of_the_angle_becomes_that_of_the_direction(make_sites, reference, length):
    sites = reference.double(make_sites(6))
    theta = np.arctan2(sites.direction[:, 1], sites.direction[:, 0])
    sites = sites.replace(direction=length * sites.direction)

    def total(direction):
        rows = formula.site_rows(sites.replace(direction=direction), 16)
        return jnp.sum(jnp.sin(formula.score(rows, 3.0, 5.0)))

    by_angle = jax.grad(lambda t: total(jnp.stack([jnp.cos(t), jnp.sin(t)], -1)))(theta)
    found = formula.angle_to_direction(by_angle, sites.direction)
    np.testing.assert_allclose(found, jax.grad(total)(sites.direction), rtol=1e-8, atol=1e-12)


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

    @jax.jit
    def gradient(sites):
        return jax.grad(lambda s: jnp.sum(sad.render(s, lists, implementation=implementation)))(
            sites
        )

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(sites)))
