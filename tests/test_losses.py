"""Sums over pixels: gradients and Gauss-Newton blocks against autodiff of the plain renderer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sad_jax import losses
from sad_jax import score as formula
from sad_jax.render_xla import render_plain
from sad_jax.sites import Sites

PHI = formula.PHI
CASES = [  # shape, channels, cell, weighted
    ((5, 7), 1, 2, False),
    ((6, 5), 4, 1, True),
]


class Problem:
    """A small picture to fit, with everything that the sums need."""

    def __init__(self, make_sites, reference, shape, channels, cell, weighted, dtype=np.float64):
        rng = np.random.default_rng(2)
        self.sites = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, dtype), make_sites(6, channels, shape)
        )
        self.lists = reference.lists(self.sites, shape, 4, cell)
        self.grid, self.ids = self.lists.grid, self.lists.ids
        self.image = jnp.asarray(rng.uniform(size=(*shape, channels)), dtype)
        weight = rng.uniform(0, 2, shape) * (rng.uniform(size=shape) > 0.3)
        self.weight = jnp.asarray(weight if weighted else np.ones(shape), dtype)
        self.target = losses.make_target(self.grid, self.image, self.weight if weighted else None)

    def loss(self, sites: Sites) -> jax.Array:
        """Squared errors summed over channels and averaged over all pixels."""
        error = render_plain(self.grid, sites, self.ids) - self.image
        return jnp.sum(self.weight[..., None] * error**2) / self.weight.size

    @property
    def chain(self) -> jax.Array:
        return formula.chain(formula.site_rows(self.sites, self.grid.size), self.grid.size)

    def parameters(self) -> jax.Array:
        """(x, y, log_tau, radius, theta, a, colours) [6 + C, N]."""
        s = self.sites
        theta = jnp.arctan2(s.direction[:, 1], s.direction[:, 0])
        return jnp.stack([*s.position.T, s.log_tau, s.radius, theta, s.log_aniso, *s.color.T])

    def draw(self, parameters: jax.Array) -> jax.Array:
        x, y, log_tau, radius, theta, a, *color = parameters
        direction = jnp.stack([jnp.cos(theta), jnp.sin(theta)], -1)
        sites = Sites(jnp.stack([x, y], -1), log_tau, radius, jnp.stack(color, -1), direction, a)
        return render_plain(self.grid, sites, self.ids)

    def to_parameters(self, sums: jax.Array) -> jax.Array:
        """A gradient from (phi, colour) to the parameters, both [6 + C, N]."""
        geometry = jnp.einsum("gpn,pn->gn", self.chain, sums[:PHI])
        return jnp.concatenate([geometry, sums[PHI:]])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("shape", "channels", "cell", "weighted"), CASES)
def test_gradient_equals_autodiff_in_float64(
    make_sites, reference, assert_same, shape, channels, cell, weighted
):
    problem = Problem(make_sites, reference, shape, channels, cell, weighted)
    mse, found = jax.jit(losses.gradient, static_argnums=0)(
        problem.grid, problem.sites, problem.ids, problem.target
    )
    loss, expected = jax.jit(jax.value_and_grad(problem.loss))(problem.sites)
    assert_same(found, expected, 1e-9)
    pixels = problem.weight.size
    np.testing.assert_allclose(mse, loss * pixels / (problem.weight.sum() * channels), rtol=1e-9)


def test_gradient_equals_autodiff_in_float32(make_sites, reference, assert_same):
    problem = Problem(make_sites, reference, (9, 14), 3, 1, True, np.float32)
    _, found = jax.jit(losses.gradient, static_argnums=0)(
        problem.grid, problem.sites, problem.ids, problem.target
    )
    assert_same(found, jax.jit(jax.grad(problem.loss))(problem.sites), 1e-3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("shape", "channels", "cell", "weighted"), CASES)
def test_curvature_equals_the_dense_one(make_sites, reference, shape, channels, cell, weighted):
    """The gradient, every site's block of J'VJ, and products with the whole matrix."""
    problem = Problem(make_sites, reference, shape, channels, cell, weighted)
    parameters = problem.parameters()
    jacobian = jax.jit(jax.jacfwd(problem.draw))(parameters)  # [H, W, C, 6 + C, N]
    dense = jnp.einsum("yxcgn,yx,yxchm->gnhm", jacobian, problem.weight, jacobian, optimize=True)
    blocks = jnp.einsum("gnhn->ghn", dense)
    error = problem.draw(parameters) - problem.image
    half_gradient = jnp.einsum("yxcgn,yx,yxc->gn", jacobian, problem.weight, error)

    arguments = (problem.grid, problem.sites, problem.ids, problem.target)
    mse, sums, curvature = jax.jit(losses.gradient_and_curvature, static_argnums=0)(*arguments)
    chain = problem.chain
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)  # noqa: E731
    close(mse, jnp.sum(problem.weight[..., None] * error**2) / problem.weight.sum() / channels)
    close(problem.to_parameters(sums), half_gradient)
    close(jnp.einsum("gpn,pqn,hqn->ghn", chain, curvature.geometry, chain), blocks[:PHI, :PHI])
    close(jnp.einsum("gpn,pcn->gcn", chain, curvature.mixed), blocks[:PHI, PHI:])
    close(jnp.eye(channels)[..., None] * curvature.color, blocks[PHI:, PHI:])

    vector = jnp.asarray(np.random.default_rng(0).normal(size=parameters.shape))
    in_phi = jnp.concatenate([jnp.einsum("gpn,gn->pn", chain, vector[:PHI]), vector[PHI:]])
    product = jax.jit(losses.curvature_product, static_argnums=0)(*arguments, in_phi)
    expected = jnp.einsum("gnhm,hm->gn", dense, vector)
    close(problem.to_parameters(product), expected)


def test_pixels_of_weight_zero_and_beyond_the_edge_do_not_count(make_sites, reference):
    problem = Problem(make_sites, reference, (5, 7), 3, 2, True, np.float32)
    changed = jnp.where(problem.weight[..., None] > 0, problem.image, 77.0)
    target = losses.make_target(problem.grid, changed, problem.weight)
    run = jax.jit(losses.gradient, static_argnums=0)
    found = run(problem.grid, problem.sites, problem.ids, target)
    expected = run(problem.grid, problem.sites, problem.ids, problem.target)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
