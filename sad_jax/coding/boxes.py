"""Boxes of influence: where in the picture a group of sites may be seen."""

from __future__ import annotations

import numpy as np

from sad_jax.model.canvas import Canvas
from sad_jax.storage.compact.layout import BOX_PARTS, box_unit
from sad_jax.storage.compact.order import GROUP_BITS, Order

ENTRIES = 2**22  # of lists, looked at at once


def influence(order: Order, canvas: Canvas, ids: np.ndarray) -> np.ndarray:
    """int64[groups, 4]: first and last part in x and in y of each group's members in the lists.

    Sites of the base do not count, as they are always read. ``ids``: int32[Hc, Wc, K].
    """
    rows, columns, k = ids.shape
    unit, cell = box_unit(canvas.size), canvas.cell
    in_base = (1 << order.base_level) - 1  # of an id no bit of these is set
    seen = np.zeros((2, order.groups, BOX_PARTS), bool)  # in which parts in x, and in y
    height = max(1, ENTRIES // (columns * k))
    for top in range(0, rows, height):
        band = ids[top : top + height]
        own = (band & in_base) != 0
        group = (band >> GROUP_BITS)[own]
        row, column = np.ogrid[top : top + len(band), :columns]
        for axis, place in enumerate((column, row)):
            for pixel in (place * cell, np.minimum(place * cell + cell - 1, canvas.size - 1)):
                part = np.broadcast_to((pixel // unit)[..., None], band.shape)
                seen[axis, group, part[own]] = True
    boxes = np.stack([seen.argmax(2), BOX_PARTS - 1 - seen[..., ::-1].argmax(2)], -1)
    boxes[~seen.any(2)] = BOX_PARTS - 1, 0  # holds nothing
    return np.moveaxis(boxes, 0, 1).reshape(-1, 4)
