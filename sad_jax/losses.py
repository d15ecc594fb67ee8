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
from sad_jax.passes import site_gradient, sum_over_pixels
from sad_jax.score import Pixel, dot, pull_back
from sad_jax.sites import Sites


class Target(flax.struct.PyTreeNode):
    """The picture to fit, laid out in blocks of cells.

    ``image``: [blocks, cell * cell, C, lanes]; ``weight``: the same with one channel, zero beyond
    the picture's edge; ``scale``: 1 / number of pixels; ``values``: sum of weights times C;
    ``implementation``, ``deterministic`` (static): of all passes that compare with it.
    """

    image: jax.Array
    weight: jax.Array
    scale: jax.Array
    values: jax.Array
    implementation: str | None = flax.struct.field(pytree_node=False, default=None)
    deterministic: bool = flax.struct.field(pytree_node=False, default=False)


def make_target(
    grid: Grid,
    image: jax.Array,
    weight: jax.Array | None = None,
    *,
    implementation: str | None = None,
    deterministic: bool = False,
) -> Target:
    """Lays out float[H, W, C] and weights float[H, W] (all one if None).

    ``implementation`` and ``deterministic`` are those of ``passes.sum_over_pixels``.
    """
    height, width, channels = image.shape
    weight = jnp.ones((height, width), image.dtype) if weight is None else weight
    return Target(
        image=grid.split_image(image),
        weight=grid.split_image(weight[..., None]),
        scale=jnp.asarray(1 / (height * width), image.dtype),
        values=jnp.sum(weight) * channels,
        implementation=implementation,
        deterministic=deterministic,
    )


class Curvature(NamedTuple):
    """Gauss-Newton blocks of all sites in (phi, colour).

    ``geometry``: [6, 6, N]; ``mixed``: [6, C, N]; ``color``: [N], times the identity.
    """

    geometry: jax.Array
    mixed: jax.Array
    color: jax.Array


def compare(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target, entries: int, slots, **options
) -> jax.Array:
    """``sum_over_pixels`` of callbacks (Pixel, image, weight), tuples of C and 1 channels."""
    pictures = target.image, target.weight
    options |= {"implementation": target.implementation, "deterministic": target.deterministic}
    return sum_over_pixels(grid, sites, ids, entries, slots, *pictures, **options)


def gradient(grid: Grid, sites: Sites, ids: jax.Array, target: Target) -> tuple[jax.Array, Sites]:
    """Mean squared error over the weighted values, and dL/d sites."""
    mse, sums = gradient_sums(grid, sites, ids, target)
    return mse, site_gradient(sites, 2 * target.scale * sums, grid.size)


def gradient_sums(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target
) -> tuple[jax.Array, jax.Array]:
    """One pass: mean squared error, and sum v J'e in (phi, colour): L's gradient / (2 scale)."""
    sums = compare(grid, sites, ids, target, formula.PHI + sites.channels + 1, _error_slots)
    return jnp.sum(sums[-1]) / target.values, sums[:-1]


def _error_slots(pixel: Pixel, image, weight) -> list[jax.Array]:
    """sum v J'e of a slot, and its share of the energy v |e|^2."""
    error = [color - value for color, value in zip(pixel.color, image, strict=True)]
    weighted = [weight[0] * e for e in error]
    return [*pull_back(pixel, weighted), pixel.weights * dot(weighted, error)]


def gradient_and_curvature(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target
) -> tuple[jax.Array, jax.Array, Curvature]:
    """One pass: as ``gradient_sums``, and the Gauss-Newton blocks of all sites.

    With residual e, weight v and the Jacobian J of a pixel's colour with respect to one site in
    (phi, colour), dc/dphi = w (c_i - c) and dc/dc_i = w I: gradient sum v J'e, curvature sum v J'J.

    Returns:
      The mean squared error, the gradient [6 + C, N] and the curvature, both in (phi, colour).
    """
    channels, (rows, columns) = sites.channels, np.triu_indices(formula.PHI)
    ends = np.cumsum([formula.PHI + channels, 1, len(rows), formula.PHI * channels, 1])
    sums = compare(grid, sites, ids, target, int(ends[-1]), _curvature_slots)
    gradients, energy, upper, mixed, (color,) = jnp.split(sums, ends[:-1])
    geometry = jnp.zeros((formula.PHI, formula.PHI, sites.num_sites), sums.dtype)
    geometry = geometry.at[rows, columns].set(upper).at[columns, rows].set(upper)
    mixed = mixed.reshape(formula.PHI, channels, -1)
    return jnp.sum(energy) / target.values, gradients, Curvature(geometry, mixed, color)


def _curvature_slots(pixel: Pixel, image, weight) -> list[jax.Array]:
    """``_error_slots``, then v J'J: the upper triangle of geometry, mixed, and one for colours."""
    entries = formula.phi(pixel.rows, pixel.x, pixel.y)
    contrast = pixel.contrast
    squared = weight[0] * pixel.weights * pixel.weights
    both = squared * dot(contrast, contrast)
    scaled = [both * entry for entry in entries]
    mixed = [squared * c for c in contrast]
    return [
        *_error_slots(pixel, image, weight),
        *(scaled[i] * entries[j] for i in range(formula.PHI) for j in range(i, formula.PHI)),
        *(pull * entry for entry in entries for pull in mixed),
        squared,
    ]


def curvature_product(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target, vector: jax.Array
) -> jax.Array:
    """J'VJ times a vector [6 + C, N], both in (phi, colour): the whole Gauss-Newton matrix."""
    options = {"attached": vector, "blended": _change_of_color}
    return compare(grid, sites, ids, target, len(vector), _pull_blended_back, **options)


def _change_of_color(pixel: Pixel, image, weight) -> list[jax.Array]:
    """What a step ``attached`` of one site does to the pixel's colour, over the site's weight."""
    geometry, color = pixel.attached[: formula.PHI], pixel.attached[formula.PHI :]
    logit = dot(formula.phi(pixel.rows, pixel.x, pixel.y), geometry)
    return [logit * contrast + own for contrast, own in zip(pixel.contrast, color, strict=True)]


def _pull_blended_back(pixel: Pixel, image, weight) -> list[jax.Array]:
    return pull_back(pixel, [weight[0] * change for change in pixel.blended])


def color_product(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target, colors: jax.Array
) -> jax.Array:
    """W'VW times colours [C, N]: a render and its transpose, with frozen weights."""

    def slots(pixel: Pixel, image, weight):
        return [pixel.weights * (weight[0] * value) for value in pixel.blended]

    options = {"attached": colors, "blended": lambda pixel, *_: pixel.attached}
    return compare(grid, sites, ids, target, len(colors), slots, **options)


def color_right_side(grid: Grid, sites: Sites, ids: jax.Array, target: Target) -> jax.Array:
    """W'V (target - picture), [C, N], and the diagonal of W'VW in a last row."""

    def slots(pixel: Pixel, image, weight):
        scaled = weight[0] * pixel.weights
        error = [value - color for value, color in zip(image, pixel.color, strict=True)]
        return [*(scaled * e for e in error), scaled * pixel.weights]

    return compare(grid, sites, ids, target, sites.channels + 1, slots)
