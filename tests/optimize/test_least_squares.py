"""Sums over pixels: gradients and Gauss-Newton blocks against autodiff of the plain renderer."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model import score as formula
from sad_jax.optimize import least_squares as ls

PHI = formula.PHI
CASES = [  # shape, channels, cell, weighted
    ((5, 7), 1, 2, False),
    ((6, 5), 4, 1, True),
]

gradient = jax.jit(ls.gradient)
close = partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-9)


def gram(pictures):
    """The products of pictures with each other."""
    return jnp.stack([jnp.stack([jnp.vdot(a, b) for b in pictures]) for a in pictures])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("shape", "channels", "cell", "weighted"), CASES)
def test_gradient_equals_autodiff_in_float64(
    make_problem, assert_same, shape, channels, cell, weighted
):
    problem = make_problem(shape, channels, cell, weighted)
    errors, found = gradient(*problem.arguments)
    loss, expected = jax.jit(jax.value_and_grad(problem.loss))(problem.sites)
    assert_same(found, expected, 1e-9)
    pixels = problem.weight.size
    close(errors[:2], np.full(2, loss * pixels / (problem.weight.sum() * channels)))


@pytest.mark.usefixtures("x64")
def test_sums_are_the_gradient_but_for_the_chain_and_twice_the_scale(make_problem):
    problem = make_problem(*CASES[1])
    errors, full = gradient(*problem.arguments)
    again, sums = jax.jit(ls.gradient_sums)(*problem.arguments)
    jax.tree.map(close, again, errors)
    close(sums, problem.right_side(problem.phi_jacobian))
    scaled = np.asarray(sums) * 2 / problem.weight.size
    x, y = problem.sites.direction.T  # of unit length
    theta = np.asarray(full.direction)[:, 1] * x - np.asarray(full.direction)[:, 0] * y
    geometry = np.stack([*full.position.T, full.log_tau, full.radius, theta, full.log_aniso])
    close(np.einsum("gpn,pn->gn", problem.chain, scaled[:PHI]), geometry)
    close(scaled[PHI:], full.color.T)


def test_gradient_equals_autodiff_in_float32(make_problem, assert_same):
    problem = make_problem((5, 7), 3, 2, True, np.float32)
    _, found = gradient(*problem.arguments)
    assert_same(found, jax.jit(jax.grad(problem.loss))(problem.sites), 1e-3)


@pytest.mark.usefixtures("x64")
def test_curvature_equals_the_dense_one(make_problem):
    """The gradient, every site's block of J'VJ, and products with the whole matrix."""
    channels = 2
    problem = make_problem((5, 7), channels, 2, True)
    jacobian = problem.phi_jacobian
    vectors = np.random.default_rng(0).normal(size=(3, *problem.parameters.shape))

    @jax.jit
    def run(*arguments):
        sums = ls.gradient_and_curvature(*arguments)
        one = ls.change_of_picture(*arguments, vectors[0])
        two = ls.change_of_picture(*arguments, jnp.concatenate([*vectors[1:]]))
        return *sums, gram([one, *jnp.split(two, 2, axis=2)])

    errors, sums, curvature, products = run(*problem.arguments)
    blocks = problem.blocks(jacobian)
    close(errors[:2], np.full(2, np.average(problem.error**2, weights=problem.values)))
    color = problem.jacobian[:, 6]  # how the first channel follows that of each site: its weights
    shares = color.reshape(-1, problem.channels, color.shape[-1])[:, 0].T
    squared = (problem.error**2 * problem.values).reshape(-1, problem.channels).sum(1)
    close(errors.of_sites, shares @ squared / problem.values.sum())
    close(sums, problem.right_side(jacobian))
    close(curvature.geometry, blocks[:PHI, :PHI])
    close(curvature.mixed, blocks[:PHI, PHI:])
    close(np.eye(channels)[..., None] * curvature.color, blocks[PHI:, PHI:])
    close(products, np.einsum("agn,gnhk,bhk->ab", vectors, problem.matrix(jacobian), vectors))


SCALARS = {  # rho of s = |e|^2, width 0.05
    "squared": lambda s: s,
    "huber": lambda s: jnp.where(s < 0.0025, s, 0.1 * jnp.sqrt(jnp.maximum(s, 1e-9)) - 0.0025),
    "cauchy": lambda s: 0.0025 * jnp.log1p(s / 0.0025),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("loss", SCALARS)
def test_reweighting_gives_the_gradient_of_the_robust_loss(make_problem, assert_same, loss):
    problem = make_problem((5, 7), 3, 2, True)
    image = problem.image.copy()
    drawn = sad.render(problem.sites, problem.lists, implementation="xla")
    image[:2] = drawn[:2] + 0.01  # within the width
    target = ls.make_target(
        problem.grid, jnp.asarray(image), jnp.asarray(problem.weight), loss=loss
    )

    def total(sites):
        error = sad.render(sites, problem.lists, implementation="xla") - image
        values = SCALARS[loss](jnp.sum(error * error, -1))
        return jnp.sum(problem.weight * values) / problem.weight.size

    errors, found = gradient(problem.sites, problem.lists, target)
    expected, slope = jax.jit(jax.value_and_grad(total))(problem.sites)
    assert_same(found, slope, 1e-8)
    close(errors.mse, np.average((drawn - image) ** 2, weights=problem.values.reshape(image.shape)))
    close(errors.loss, expected * problem.weight.size / problem.values.sum())


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_curvature_of_a_robust_loss_is_that_of_the_reweighted_squares(make_problem):
    problem = make_problem((6, 5), 2, 1, True)
    vectors = np.random.default_rng(0).normal(size=(2, *problem.parameters.shape))
    squared = np.sum(problem.error.reshape(*problem.shape, -1) ** 2, -1)
    weight = jnp.asarray(problem.weight / (1 + squared / 0.0025))

    @jax.jit
    def run(sites, lists, target):
        sums = ls.gradient_and_curvature(sites, lists, target)[1:]
        colors = vectors[0, PHI:]
        return (
            *sums,
            gram([ls.change_of_picture(sites, lists, target, v) for v in vectors]),
            ls.color_product(sites, lists, target, colors),
            ls.color_right_side(sites, lists, target),
        )

    image = jnp.asarray(problem.image)
    robust = ls.make_target(problem.grid, image, jnp.asarray(problem.weight), loss="cauchy")
    found = run(problem.sites, problem.lists, robust)
    expected = run(problem.sites, problem.lists, ls.make_target(problem.grid, image, weight))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        close(a, b)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("shape", "channels", "cell", "weighted"), CASES)
def test_color_sums_equal_the_dense_ones(make_problem, shape, channels, cell, weighted):
    """W holds the weights of all pixels: W'VW times colours, W'V (image - picture), diag W'VW."""
    problem = make_problem(shape, channels, cell, weighted)
    weights = problem.jacobian.reshape(-1, channels, *problem.parameters.shape)[:, 0, PHI]
    close(weights.sum(1), 1)
    matrix = weights.T * problem.weight.ravel() @ weights
    error = problem.error.reshape(-1, channels)
    colors = np.random.default_rng(0).normal(size=(channels, 6))

    @jax.jit
    def run(*arguments):
        return ls.color_product(*arguments, colors), ls.color_right_side(*arguments)

    product, right = run(*problem.arguments)
    close(product, colors @ matrix)
    close(right[:-1], -(weights.T * problem.weight.ravel() @ error).T)
    close(right[-1], np.diag(matrix))


def test_pixels_of_weight_zero_and_beyond_the_edge_do_not_count(make_problem):
    problem = make_problem((5, 7), 3, 2, True, np.float32)
    changed = np.where(problem.weight[..., None] > 0, problem.image, np.float32(77))
    weight = jnp.asarray(problem.weight)
    target = ls.make_target(problem.grid, jnp.asarray(changed), weight)
    found = gradient(problem.sites, problem.lists, target)
    expected = gradient(*problem.arguments)
    order = 0 if jax.default_backend() == "cpu" else 1e-5  # of XLA's additions, free on a GPU
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=order, atol=order * np.abs(b).max())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("loss", ["squared", pytest.param("cauchy", marks=pytest.mark.slow)])
def test_means_of_squares_are_compared_with_the_photo(make_problem, assert_same, loss):
    """The loss by its own formula; matrices with dense means."""
    problem = make_problem((4, 6), 2, 1, False)
    rng = np.random.default_rng(1)
    photo, weight = problem.image[::2, ::2], rng.uniform(size=(2, 3))
    square = np.ones((2, 2))
    means = np.kron(np.kron(np.eye(2), square[:1]), np.kron(np.eye(3), square[:1])) / 4  # [6, 24]
    large, heavy = np.kron(photo, square[..., None]), np.kron(weight, square)
    options = {"loss": loss}
    target = ls.make_target(problem.grid, jnp.asarray(large), jnp.asarray(heavy), **options)
    arguments = problem.sites, problem.lists, target.replace(samples=2)

    def total(sites):
        drawn = sad.render(sites, problem.lists, implementation="xla").reshape(24, 2)
        squared = jnp.sum((means @ drawn - photo.reshape(6, 2)) ** 2, -1)
        return jnp.mean(weight.ravel() * SCALARS[loss](squared))

    errors, found = gradient(*arguments)
    expected, slope = jax.jit(jax.value_and_grad(total))(problem.sites)
    assert_same(found, slope, 1e-8)
    close(errors.loss, expected * 6 / (2 * weight.sum()))

    vectors = rng.normal(size=(2, *problem.parameters.shape))
    colors = rng.normal(size=(2, 6))

    @jax.jit
    def run(*arguments):
        changes = gram([ls.change_of_picture(*arguments, vector) for vector in vectors])
        return changes, ls.color_product(*arguments, colors), ls.color_right_side(*arguments)

    products, product, right = run(*arguments)
    jacobian = problem.phi_jacobian.reshape(24, 2, *problem.parameters.shape)
    error = means @ (problem.error + problem.image.ravel()).reshape(24, 2) - photo.reshape(6, 2)
    counts = weight.ravel()
    if loss == "cauchy":
        counts = counts / (1 + np.sum(error**2, -1) / 0.0025)
    seen = np.einsum("pm,mcgn,agn->apc", means, jacobian, vectors)
    close(products, 4 * np.einsum("apc,p,bpc->ab", seen, counts, seen))
    shares = means @ jacobian[:, 0, PHI]
    close(product, 4 * colors @ (shares.T * counts @ shares))
    close(right[:-1], -4 * (shares.T * counts @ error).T)
