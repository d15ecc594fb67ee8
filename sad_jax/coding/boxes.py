"""Boxes of influence: where in the picture a group of sites may be seen."""

from __future__ import annotations

import numpy as np

from sad_jax.model.canvas import Canvas
from sad_jax.storage.compact.layout import box_unit
from sad_jax.storage.compact.order import GROUP_BITS, Order

NOTHING = (255, 0, 255, 0)


def influence(order: Order, canvas: Canvas, ids: np.ndarray) -> np.ndarray:
    """int64[groups, 4]: first and last part in x and in y of each group's members in the lists.

    Sites of the base do not count, as they are always read. ``ids``: int32[Hc, Wc, K].
    """
    boxes = np.tile(np.array(NOTHING, np.int64), (order.groups, 1))
    unit, cell = box_unit(canvas.size), canvas.cell
    row, column = np.ogrid[: ids.shape[0], : ids.shape[1], :1][:2]
    own = order.level(ids.astype(np.int64)) < order.base_level
    group = (ids >> GROUP_BITS)[own]
    for axis, place in enumerate((column, row)):
        first = place * cell // unit
        last = np.minimum(place * cell + cell - 1, canvas.size - 1) // unit
        for end, part, extreme in ((0, first, np.minimum), (1, last, np.maximum)):
            values = np.broadcast_to(part, ids.shape)[own]
            extreme.at(boxes[:, 2 * axis + end], group, values)
    return boxes
