"""The colours of least squared error, for frozen geometry and lists."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from sad_jax.broadcasting import broadcasting
from sad_jax.draw.passes import prepare
from sad_jax.lists.candidates import Candidates
from sad_jax.model.sites import Sites
from sad_jax.optimize.gauss_newton import FLOOR
from sad_jax.optimize.least_squares import (
    Errors,
    Target,
    color_product,
    color_right_side,
    gradient_sums,
)
from sad_jax.optimize.linear import TINY, conjugate_gradients


@partial(jax.jit, static_argnames="iterations")
@broadcasting
def solve_colors(
    sites: Sites, lists: Candidates, target: Target, *, iterations: int
) -> tuple[Sites, Errors]:
    """The colours of least squared error for frozen geometry and lists, within [0, 1].

    Conjugate gradients on W'VW x = W'V (target - picture), each channel for itself, where W holds
    the weights of all pixels; each iteration is a render and its transpose. The change is clipped
    and then scaled to its own optimum, so the error never grows. Also returns the errors then.
    """
    lists = prepare(target.backend, sites, lists)
    right = color_right_side(sites, lists, target)
    residual, diagonal = right[:-1], right[-1] + FLOOR

    def product(colors):
        return color_product(sites, lists, target, colors) + FLOOR * colors

    def inner(a, b):
        return jnp.sum(a * b, 1, keepdims=True)

    solution = conjugate_gradients(product, lambda r: r / diagonal, residual, iterations, inner)
    change = jnp.clip(sites.color.T + solution, 0, 1) - sites.color.T
    length = inner(change, residual) / jnp.maximum(inner(change, product(change)), TINY)
    solved = sites.replace(color=sites.color + (jnp.clip(length, 0, 1) * change).T)
    return solved, gradient_sums(solved, lists, target)[0]
