"""Which sites can stand in an exact list anywhere in a square of pixels: what a viewer reads.

A viewer draws at any zoom and finds the K best itself, of a few dozen sites instead of all. As in
``culling.py`` a site is ruled out by bounds of the scores, here over squares of the plane, between
pixels included: from the whole canvas down to tiles, each square handing what is left to its
quarters. All squares of one size are culled at once, as pairs (square, site), on the host.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.lists.bounds import SLACK
from sad_jax.model.canvas import Canvas
from sad_jax.model.score import SQUARED_DISTANCE_MIN, Rows, metric_offset, site_rows
from sad_jax.model.sites import Sites

PAIRS = 2**18  # (square, site) whose bounds are found at once


class Tiles(NamedTuple):
    """For every tile, row by row, the ids ``ids[start[i]:start[i + 1]]``, rising.

    ``side``: pixels; ``columns``, ``rows``: of tiles; a tile reaches from half a pixel before its
    first pixel to half a pixel behind its last one.
    """

    side: int
    columns: int
    rows: int
    start: np.ndarray
    ids: np.ndarray


def find_tiles(sites: Sites, canvas: Canvas, side: int) -> Tiles:
    """The sites of every tile of ``side`` pixels: all members of its lists, and few more."""
    columns, rows = -(-canvas.width // side), -(-canvas.height // side)
    table = np.asarray(_table(sites, canvas.size))
    k, n = min(canvas.k, sites.num_sites), sites.num_sites
    width = 1 << (max(columns, rows) - 1).bit_length()  # of a square, in tiles
    corners, limit = np.zeros((1, 2), np.int64), np.full(1, np.inf, np.float32)
    square, ids = np.zeros(n, np.int64), np.arange(n)
    while True:
        low = corners * side - 0.5
        high = np.minimum(low + width * side, np.asarray([canvas.width, canvas.height]) - 0.5)
        least, most = _bounds(table, ids, low[square], high[square])
        limit = np.minimum(limit, _kth_smallest(most, square, k))
        kept = least <= limit[square]
        square, ids = square[kept], ids[kept]
        if width == 1:
            break
        width //= 2
        corners, limit, square, ids = _quarters(corners, limit, square, ids, width)
        inside = (corners < [columns, rows]).all(1)
        kept, place = inside[square], np.cumsum(inside) - 1
        corners, limit, square, ids = corners[inside], limit[inside], place[square[kept]], ids[kept]
    keys = np.sort((corners[square] @ [1, columns]) * n + ids)
    start = np.searchsorted(keys, n * np.arange(columns * rows + 1))
    return Tiles(side, columns, rows, start, keys % n)


@partial(jax.jit, static_argnums=1)
def _table(sites: Sites, size: int) -> jax.Array:
    return jnp.stack(site_rows(sites, size))


def _quarters(corners, limit, square, ids, width: int):
    """The four quarters of every square, each with all of its sites."""
    offsets = width * np.asarray([(0, 0), (1, 0), (0, 1), (1, 1)])
    corners = (corners[:, None] + offsets).reshape(-1, 2)
    square = (4 * square[:, None] + np.arange(4)).ravel()
    return corners, np.repeat(limit, 4), square, np.repeat(ids, 4)


def _kth_smallest(values: np.ndarray, group: np.ndarray, k: int) -> np.ndarray:
    """Of the float32 values of every group 0, 1, ... the k-th smallest; each has at least k.

    Group and value are sorted as one whole number: the bits of floats rise with them, but for
    the sign.
    """
    bits = values.view(np.uint32)
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    keys = np.sort((group.astype(np.uint64) << np.uint64(32)) | rising)
    first = np.searchsorted(keys >> np.uint64(32), np.arange(group.max() + 1, dtype=np.uint64))
    best = keys[first + k - 1].astype(np.uint32)  # the lower half
    return np.where(best >> 31, best ^ np.uint32(2**31), ~best).view(np.float32)


def _bounds(table, ids, low, high) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest score of sites in boxes, pair by pair."""
    count = len(ids)
    pad = lambda array: np.pad(array, [(0, -count % PAIRS)] + [(0, 0)] * (array.ndim - 1))  # noqa: E731
    parts = (pad(a).reshape(-1, PAIRS, *a.shape[1:]) for a in (ids, low, high))
    found = [_bounds_of_part(table, *part) for part in zip(*parts, strict=True)]
    least, most = (np.concatenate(values)[:count] for values in zip(*found, strict=True))
    return least, most


@jax.jit
def _bounds_of_part(table, ids, low, high):
    """As ``bounds.bounds``, and tighter, since no tile is searched twice: d is convex, so largest
    in a corner; and smallest in the site itself, or on the nearest point of a side."""
    rows = Rows(*table[:, ids])
    (left, top), (right, bottom) = (low - table[:2, ids].T).T, (high - table[:2, ids].T).T
    xy = rows.fx * rows.fy * (1 - rows.h**2)
    distance = lambda dx, dy: jnp.hypot(*metric_offset(rows, dx, dy))  # noqa: E731
    down, across = rows.fy**2 + (rows.h * rows.fx) ** 2, rows.fx**2 + (rows.h * rows.fy) ** 2
    sides = [distance(x, jnp.clip(-xy * x / down, top, bottom)) for x in (left, right)]
    sides += [distance(jnp.clip(-xy * y / across, left, right), y) for y in (top, bottom)]
    inside = (left <= 0) & (right >= 0) & (top <= 0) & (bottom >= 0)
    least = jnp.sqrt(SQUARED_DISTANCE_MIN)
    nearest = jnp.maximum(jnp.where(inside, 0, jnp.min(jnp.stack(sides), 0)), least)
    corners = [distance(x, y) for x in (left, right) for y in (top, bottom)]
    farthest = jnp.maximum(jnp.max(jnp.stack(corners), 0), least)
    slack = SLACK * (farthest + abs(rows.radius))
    return (
        rows.tau * (nearest - rows.radius - slack),
        rows.tau * (farthest - rows.radius + slack),
    )
