"""Tangents: the map out of (phi, colour) against autodiff, and angles against turned directions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sad_jax.model import score as formula
from sad_jax.model import tangent
from sad_jax.model.sites import Sites


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


@partial(jax.jit, static_argnums=2)
def derivative(parameters: jax.Array, point: jax.Array, size: int) -> jax.Array:
    """Of every site's logit by its own parameters [N, 6], by forward differentiation."""
    return jax.vmap(jax.jacfwd(lambda g: logit(g[:, None], point, size)[0]), 1)(parameters)


@partial(jax.jit, static_argnums=2)
def chain_times_phi(parameters: jax.Array, point: jax.Array, size: int) -> jax.Array:
    """The same [N, 6], as the package computes it."""
    x, y, log_tau, radius, theta, a = parameters
    direction = jnp.stack([jnp.cos(theta), jnp.sin(theta)], -1)
    color = jnp.zeros((len(x), 1))
    sites = Sites(jnp.stack([x, y], -1), log_tau, radius, color, direction, a)
    entries = jnp.stack(formula.phi(formula.site_rows(sites, size), *point))
    return jnp.einsum("gpn,pn->ng", tangent.chain_matrix(sites, size), entries)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("place", ["anywhere", "on the site", "just outside the floor"])
def test_chain_times_phi_is_the_derivative_of_the_logit(place):
    size, log_aniso = 23, np.asarray([-4, -4, -1.3, 0, 0, 0.7, 4, 4])
    n = len(log_aniso)
    rng = np.random.default_rng(3)
    parameters = np.asarray(
        [
            rng.uniform(0, 22, n),
            rng.uniform(0, 22, n),
            rng.uniform(-2, 12, n),
            rng.uniform(1, 30, n),
            rng.uniform(0, 6, n),
            log_aniso,
        ]
    )
    point = np.asarray([7.0, 11.0])
    offset = {"anywhere": None, "on the site": 0.0, "just outside the floor": 0.02}[place]
    if offset is not None:
        parameters[:2] = [[7 + offset], [11 - offset]]
    found = chain_times_phi(parameters, point, size)
    expected = derivative(parameters, point, size)
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

    @jax.jit
    def found(theta, direction):
        by_angle = jax.grad(lambda t: total(jnp.stack([jnp.cos(t), jnp.sin(t)], -1)))(theta)
        return tangent.angle_to_direction(by_angle, direction)

    expected = jax.jit(jax.grad(total))(sites.direction)
    np.testing.assert_allclose(found(theta, sites.direction), expected, rtol=1e-8, atol=1e-12)


def test_a_turned_direction_is_at_the_angle(make_sites):
    sites = make_sites(5)
    turn = np.zeros((9, 5), np.float32)
    turn[4] = np.asarray([0, 1e-2, -1e-2, 0.1, -0.3])
    update = jax.jit(tangent.as_updates)(sites, turn)
    turned = sites.direction + np.asarray(update.direction)
    angle = np.arctan2(*turned.T[::-1]) - np.arctan2(*sites.direction.T[::-1])
    np.testing.assert_allclose(np.sin(angle), np.sin(np.arctan(turn[4])), atol=1e-6)
    assert not np.any(jax.tree.leaves(update.replace(direction=np.zeros(1)))[0])
    shapes = jax.tree.map(np.shape, update)
    assert shapes == jax.tree.map(np.shape, sites)
