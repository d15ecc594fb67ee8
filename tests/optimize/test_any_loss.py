"""Gauss-Newton for the user's own loss against dense linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sad_jax as sad
from sad_jax.model.tangent import as_updates
from sad_jax.optimize import gauss_newton as gn

SHAPE = (6, 8)
DAMPING = 0.5


@pytest.fixture
def blur():
    """A linear operator on pictures of two channels, as a matrix."""
    return np.random.default_rng(4).normal(size=(30, 2 * SHAPE[0] * SHAPE[1]))


@pytest.mark.usefixtures("x64")
def test_a_step_solves_the_damped_system(make_problem, blur):
    """J and H = A'A as matrices."""
    problem = make_problem(SHAPE, 2, 1, False)
    sites, lists = jax.tree.map(jnp.asarray, problem.sites), problem.lists
    data = np.random.default_rng(5).normal(size=30)
    loss = lambda image: jnp.sum((blur @ image.ravel() - data) ** 2) / 2  # noqa: E731
    jacobian = problem.jacobian.reshape(blur.shape[1], -1)
    slope = blur.T @ (blur @ problem.draw(problem.parameters).ravel() - data)
    hessian = blur.T @ blur
    height = slope @ hessian @ slope / (slope @ slope)
    diagonal = DAMPING * np.sum(jacobian**2, 0) + gn.FLOOR
    matrix = jacobian.T @ hessian @ jacobian + height * np.diag(diagonal)
    expected = np.linalg.solve(matrix, -jacobian.T @ slope).reshape(8, -1)
    assert np.abs(expected).max() > 0.3  # some entries at the trust region's border

    optimizer = sad.gauss_newton(optax.constant_schedule(DAMPING), iterations=300)
    found, steps = optimizer.update(sites, optimizer.init(sites), sites, lists=lists, loss=loss)
    wanted = as_updates(sites, gn.TRUST_REGION.capped(jnp.asarray(expected)))
    room = np.log(gn.SHARPEST * max(SHAPE)) - sites.log_tau
    assert np.any(room < wanted.log_tau)
    assert np.any(room > wanted.log_tau)
    wanted = wanted.replace(log_tau=jnp.minimum(wanted.log_tau, room))
    for name, leaf in vars(wanted).items():
        np.testing.assert_allclose(getattr(found, name), leaf, atol=1e-6, err_msg=name)
    assert steps == 1


def test_a_step_does_not_depend_on_the_losses_unit(make_sites):
    sites = make_sites(9, shape=SHAPE)
    lists, optimizer = sad.find_candidates(sites, SHAPE), sad.gauss_newton()
    goal = np.random.default_rng(1).uniform(size=(*SHAPE, 3)).astype(np.float32)

    @jax.jit
    def step(scale):
        loss = lambda image: scale * jnp.mean((image - goal) ** 2)  # noqa: E731
        return optimizer.update(sites, optimizer.init(sites), sites, lists=lists, loss=loss)[0]

    first, second = step(1.0), step(2.0**-20)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_fifteen_steps_do_more_than_thirty_of_adam(make_sites):
    """Deconvolution of a step edge with a total variation that is convex from above."""
    goal = np.where(np.arange(16)[:, None, None] > np.arange(24)[None, :, None] / 2, 0.8, 0.2)

    def loss(image):
        blurred = image
        for axis in (0, 1):
            blurred = (jnp.roll(blurred, 1, axis) + blurred + jnp.roll(blurred, -1, axis)) / 3
        squared = jnp.diff(image, axis=1) ** 2 + 1e-6
        length = jax.lax.stop_gradient(jnp.sqrt(squared))
        return jnp.mean((blurred - goal) ** 2) + 1e-3 * jnp.mean(squared / length + length) / 2

    start = sad.init_sites(jnp.full((16, 24, 1), 0.5), 12, key=jax.random.key(0))

    def after(steps, **options):
        state = sad.minimize(loss, start, (16, 24), steps=steps, **options)
        return float(loss(sad.render(state.sites, state.lists)))

    assert after(15, optimizer=sad.gauss_newton(), refresh_every=1) < 0.9 * after(30)
