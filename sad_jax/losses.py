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
import numpy as np

from sad_jax import score as formula
from sad_jax.cells import Grid
from sad_jax.render_xla import Pixel, blend, pull_back, site_gradient, sum_over_pixels
from sad_jax.sites import Sites


class Target(flax.struct.PyTreeNode):
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


def gradient(grid: Grid, sites: Sites, ids: jax.Array, target: Target) -> tuple[jax.Array, Sites]:
    """Mean squared error over the weighted values, and dL/d sites."""
    mse, sums = gradient_sums(grid, sites, ids, target)
    return mse, site_gradient(sites, 2 * target.scale * sums, grid.size)


def gradient_sums(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target
) -> tuple[jax.Array, jax.Array]:
    """One pass: mean squared error, and sum v J'e in (phi, colour): L's gradient / (2 scale)."""

    def slots(pixel: Pixel, image, weight):
        error = pixel.color - image
        energy = pixel.weights * jnp.sum(weight * error * error, 0)
        return jnp.concatenate([pull_back(pixel, weight * error), energy[None]])

    entries = formula.PHI + sites.channels + 1
    sums = sum_over_pixels(grid, sites, ids, entries, slots, target.image, target.weight)
    return jnp.sum(sums[-1]) / target.values, sums[:-1]


def gradient_and_curvature(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target
) -> tuple[jax.Array, jax.Array, Curvature]:
    """One pass: as ``gradient_sums``, and the Gauss-Newton blocks of all sites.

    With residual e, weight v and the Jacobian J of a pixel's colour with respect to one site in
    (phi, colour), dc/dphi = w (c_i - c) and dc/dc_i = w I: gradient sum v J'e, curvature sum v J'J.

    Returns:
      The mean squared error, the gradient [6 + C, N] and the curvature, both in (phi, colour).
    """
    channels, upper = sites.channels, np.triu_indices(formula.PHI)
    pairs = list(zip(*map(list, upper), strict=True))

    def slots(pixel: Pixel, image, weight):
        error = pixel.color - image
        energy = pixel.weights * jnp.sum(weight * error * error, 0)
        entries = formula.phi(pixel.rows, pixel.x, pixel.y)
        contrast = pixel.colors - pixel.color[:, None]
        squared = weight * pixel.weights * pixel.weights
        both = squared * jnp.sum(contrast * contrast, 0)
        scaled = [both * entry for entry in entries]
        return jnp.concatenate(
            [
                pull_back(pixel, weight * error),
                jnp.stack([scaled[i] * entries[j] for i, j in pairs]),
                jnp.concatenate([(squared * contrast) * entry for entry in entries]),
                squared[None],
                energy[None],
            ]
        )

    first = formula.PHI + channels
    entries = first + len(pairs) + formula.PHI * channels + 2
    sums = sum_over_pixels(grid, sites, ids, entries, slots, target.image, target.weight)
    geometry = jnp.zeros((formula.PHI, formula.PHI, sites.num_sites), sums.dtype)
    geometry = geometry.at[upper].set(sums[first : first + len(pairs)])
    geometry = geometry.at[upper[::-1]].set(sums[first : first + len(pairs)])
    mixed = sums[first + len(pairs) : -2].reshape(formula.PHI, channels, -1)
    mse = jnp.sum(sums[-1]) / target.values
    return mse, sums[:first], Curvature(geometry, mixed, sums[-2])


def curvature_product(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target, vector: jax.Array
) -> jax.Array:
    """J'VJ times a vector [6 + C, N], both in (phi, colour): the whole Gauss-Newton matrix."""

    def slots(pixel: Pixel, image, weight):
        entries = formula.phi(pixel.rows, pixel.x, pixel.y)
        geometry, color = pixel.attached[: formula.PHI], pixel.attached[formula.PHI :]
        logit = sum(e * v for e, v in zip(entries, geometry, strict=True))
        contrast = pixel.colors - pixel.color[:, None]
        change = jnp.sum(pixel.weights * (logit * contrast + color), axis=1)
        return pull_back(pixel, weight * change)

    return sum_over_pixels(
        grid, sites, ids, len(vector), slots, target.image, target.weight, attached=vector
    )


def color_product(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target, colors: jax.Array
) -> jax.Array:
    """W'VW times colours [C, N]: a render and its transpose, with frozen weights."""

    def slots(pixel: Pixel, image, weight):
        return pixel.weights * (weight * blend(pixel.weights, pixel.attached))[:, None]

    return sum_over_pixels(
        grid, sites, ids, len(colors), slots, target.image, target.weight, attached=colors
    )


def color_right_side(grid: Grid, sites: Sites, ids: jax.Array, target: Target) -> jax.Array:
    """W'V (target - picture), [C, N], and the diagonal of W'VW in a last row."""

    def slots(pixel: Pixel, image, weight):
        color = pixel.weights * (weight * (image - pixel.color))[:, None]
        return jnp.concatenate([color, (weight * pixel.weights * pixel.weights)[None]])

    entries = sites.channels + 1
    return sum_over_pixels(grid, sites, ids, entries, slots, target.image, target.weight)
