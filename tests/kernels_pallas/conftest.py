"""What the tests of the kernels share: cases, and every pass by any backend."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.optimize import density, least_squares


@pytest.fixture(scope="session")
def make_case(make_sites, reference):
    """``make_case(shape, sites, channels, k, cell)``: what ``run_pass`` takes."""

    def make(shape, n, channels, k, cell):
        """Sites, lists, a picture with some pixels of weight zero, and a tangent."""
        rng = np.random.default_rng(1)
        sites = make_sites(n, channels, shape)
        lists = reference.lists(sites, shape, k, cell)
        image = jnp.asarray(rng.uniform(size=(*shape, channels)), jnp.float32)
        weight = jnp.asarray(rng.uniform(size=shape) * (rng.uniform(size=shape) > 0.2), jnp.float32)
        vector = jnp.asarray(rng.normal(size=(6 + channels, n)), jnp.float32)
        return sites, lists, image, weight, vector

    return make


def pull_back(sites, lists, target, vector):
    """The picture, and the gradient of its product with the target."""
    draw = partial(sad.render, lists=lists, implementation=target.backend)
    picture, pull = jax.vjp(draw, sites)
    return picture, pull(lists.grid.join_image(target.image))[0]


def colors(sites, lists, target, vector):
    known = sites, lists, target
    product = least_squares.color_product(*known, vector[6:])
    return product, least_squares.color_right_side(*known)


PASSES = {
    "pull back": pull_back,
    "gradient": lambda s, c, t, v: least_squares.gradient(s, c, t),
    "curvature": lambda s, c, t, v: least_squares.gradient_and_curvature(s, c, t),
    "change": lambda s, c, t, v: least_squares.change_of_picture(s, c, t, v),
    "colors": colors,
    "statistics": lambda s, c, t, v: density._sums(s, c, t),
}


@pytest.fixture(scope="session")
def run_pass():
    """``run_pass(*case, name=, backend=)``: one of the passes, by one backend."""

    @partial(jax.jit, static_argnames=("name", "backend"))
    def run(sites, lists, image, weight, vector, *, name, backend):
        target = least_squares.make_target(lists.grid, image, weight, backend=backend)
        return PASSES[name](sites, lists, target, vector)

    return run
