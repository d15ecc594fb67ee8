"""Bounds of scores over boxes of cells: by them whole sets of sites are ruled out at once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax.model import score as formula
from sad_jax.model.canvas import Grid
from sad_jax.model.score import Rows

SLACK = 1e-5  # relative room for rounding


class Box(NamedTuple):
    """Middles and half extents, in pixels, of the centres of squares of cells: [..., 1] each."""

    x: jax.Array
    y: jax.Array
    half_x: jax.Array
    half_y: jax.Array


def box_of(grid: Grid, corner: jax.Array, side: int | jax.Array) -> Box:
    """The boxes of squares of cells with first cells ``corner`` [2, ...], within the grid.

    ``side`` may also be [2], width and height.
    """
    corner = corner.reshape(2, *(corner.shape[1:] or (1,)))
    side = jnp.broadcast_to(jnp.asarray(side), 2).reshape(2, *[1] * (corner.ndim - 1))
    last = jnp.asarray([grid.columns - 1, grid.rows - 1]).reshape(2, *[1] * (corner.ndim - 1))
    low, high = jnp.minimum(corner, last), jnp.minimum(corner + side - 1, last)
    middle = (low + high) * (0.5 * grid.cell) + grid.center
    return Box(*middle, *((high - low) * (0.5 * grid.cell)))


def box_around(points: jax.Array) -> Box:
    """The boxes around points [2, ..., M], (x, y) first, with room for rounding."""
    low, high = jnp.min(points, -1, keepdims=True), jnp.max(points, -1, keepdims=True)
    rounding = 4 * jnp.finfo(points.dtype).eps * jnp.maximum(abs(low), abs(high))
    return Box(*((low + high) / 2), *((high - low) / 2 + rounding))


def bounds(rows: Rows, box: Box) -> tuple[jax.Array, jax.Array]:
    """The least and the largest score that sites can have in boxes, with room for rounding.

    The offset from a site to a point of the box differs from that to its middle by at most
    ``reach``, in the site's own metric; and no point is nearer than ``outside`` in the plane, which
    the smaller eigenvalue of the metric turns into ``shortest``.
    """
    dx, dy = box.x - rows.x, box.y - rows.y
    middle = jnp.hypot(*formula.metric_offset(rows, dx, dy))
    corners = [formula.metric_offset(rows, box.half_x, s * box.half_y) for s in (1, -1)]
    reach = jnp.maximum(*(jnp.hypot(*corner) for corner in corners))
    outside = jnp.hypot(jnp.maximum(abs(dx) - box.half_x, 0), jnp.maximum(abs(dy) - box.half_y, 0))
    shortest = jnp.hypot(rows.fx, rows.fy) * jnp.minimum(rows.h, 1) * outside
    least = jnp.sqrt(formula.SQUARED_DISTANCE_MIN)
    nearest = jnp.maximum(jnp.maximum(middle - reach, shortest), least)
    farthest = jnp.maximum(middle + reach, least)
    slack = SLACK * (farthest + abs(rows.radius))
    return (
        rows.tau * (nearest - rows.radius - slack),
        rows.tau * (farthest - rows.radius + slack),
    )


def places(columns: int, rows: int) -> jax.Array:
    """int32[2, rows * columns]: (x, y) of the places of a rectangle, row by row."""
    index = jnp.arange(rows * columns, dtype=jnp.int32)
    return jnp.stack([index % columns, index // columns])
