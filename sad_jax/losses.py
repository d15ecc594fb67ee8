"""What a fit minimises, and the sums over pixels that its optimisers need.

The loss is the weighted squared error, summed over channels and averaged over pixels,

    L = sum_x v(x) |c(x) - target(x)|^2 / sum_x 1,

with v = 1, a mask, or any weights >= 0. Its gradient and its Gauss-Newton curvature are gathered in
one pass over the cells, in the basis (phi, colour) of ``score.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from sad_jax import score as formula
from sad_jax.cells import Grid
from sad_jax.render_xla import Pixel, pull_back, site_gradient, sum_over_pixels
from sad_jax.sites import Sites


@flax.struct.dataclass
class Target:
    """The picture to fit, laid out in blocks of cells.

    ``image``: [blocks, cell * cell, C, lanes]; ``weight``: the same with one channel, zero beyond
    the picture's edge; ``scale``: 1 / number of pixels; ``values``: sum of weights times C.
    """

    image: jax.Array
    weight: jax.Array
    scale: jax.Array
    values: jax.Array


def make_target(grid: Grid, image: jax.Array, weight: jax.Array | None = None) -> Target:
    """Lays out float[H, W, C] and weights float[H, W] (all one if None)."""
    height, width, channels = image.shape
    weight = jnp.ones((height, width), image.dtype) if weight is None else weight
    return Target(
        image=grid.split_image(image),
        weight=grid.split_image(weight[..., None]),
        scale=jnp.asarray(1 / (height * width), image.dtype),
        values=jnp.sum(weight) * channels,
    )


class Curvature(NamedTuple):
    """Gauss-Newton blocks of all sites in (phi, colour).

    ``geometry``: [6, 6, N]; ``mixed``: [6, C, N]; ``color``: [N], times the identity.
    """

    geometry: jax.Array
    mixed: jax.Array
    color: jax.Array


def gradient(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target
) -> tuple[jax.Array, Sites]:
    """Mean squared error over the weighted values, and dL/d sites, in one pass."""

    def slots(pixel: Pixel, image, weight):
        error = pixel.color - image
        energy = pixel.weights * jnp.sum(weight * error * error, 0)
        return jnp.concatenate([pull_back(pixel, 2 * weight * error), energy[None]])

    entries = formula.PHI + sites.channels + 1
    sums = sum_over_pixels(grid, sites, ids, entries, slots, target.image, target.weight)
    mse = jnp.sum(sums[-1]) / target.values
    return mse, site_gradient(sites, sums[:-1] * target.scale, grid.size)
