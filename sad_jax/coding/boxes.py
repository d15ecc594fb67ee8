"""Boxes of influence: where in the picture a group of sites may be seen."""

from __future__ import annotations

import numpy as np

from sad_jax.lists.tiles import find_tiles
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.storage.compact.layout import BOX_PARTS, box_unit
from sad_jax.storage.compact.order import GROUP_BITS, Order

ENTRIES = 2**22  # of lists, looked at at once


def influence(order: Order, sites: Sites, canvas: Canvas, ids: np.ndarray) -> np.ndarray:
    """int64[groups, 4]: first and last part in x and in y of where each group may be seen.

    That is in pixels whose lists hold one of its sites, and at points, each of which has a list of
    its own: there as far as bounds of the scores tell. Sites of the base do not count, as they are
    always read.

    Args:
      order: of the file.
      sites: N sites in that order, none of them free.
      canvas: of the picture.
      ids: int32[Hc, Wc, K], its lists.
    """
    seen = _in_pixels(order, canvas, ids) | _at_points(order, canvas, sites)
    boxes = np.stack([seen.argmax(2), BOX_PARTS - 1 - seen[..., ::-1].argmax(2)], -1)
    boxes[~seen.any(2)] = BOX_PARTS - 1, 0  # holds nothing
    return np.moveaxis(boxes, 0, 1).reshape(-1, 4)


def _in_pixels(order: Order, canvas: Canvas, ids: np.ndarray) -> np.ndarray:
    """bool[2, groups, parts]: in which parts in x, and in y, lists hold a site of a group."""
    rows, columns, k = ids.shape
    unit, cell = box_unit(canvas.size), canvas.cell
    seen = np.zeros((2, order.groups, BOX_PARTS), bool)
    height = max(1, ENTRIES // (columns * k))
    for top in range(0, rows, height):
        band = ids[top : top + height]
        own, group = _own(order, band)
        row, column = np.ogrid[top : top + len(band), :columns]
        for axis, place in enumerate((column, row)):
            for pixel in (place * cell, np.minimum(place * cell + cell - 1, canvas.size - 1)):
                part = np.broadcast_to((pixel // unit)[..., None], band.shape)
                seen[axis, group, part[own]] = True
    return seen


def _at_points(order: Order, canvas: Canvas, sites: Sites) -> np.ndarray:
    """The same of the lists of points."""
    tiles = find_tiles(sites, canvas, box_unit(canvas.size))
    tile = np.repeat(np.arange(tiles.columns * tiles.rows), np.diff(tiles.start))
    own, group = _own(order, tiles.ids)
    seen = np.zeros((2, order.groups, BOX_PARTS), bool)
    for axis, place in enumerate((tile % tiles.columns, tile // tiles.columns)):
        seen[axis, group, place[own]] = True
    return seen


def _own(order: Order, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which ids are not of the base, and the groups of these."""
    own = (ids & ((1 << order.base_level) - 1)) != 0
    return own, ids[own] >> GROUP_BITS
