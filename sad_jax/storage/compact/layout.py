"""The payload of codec 1: a head, an index, then the lanes of the base and of the groups.

``docs/format.md`` has the layout. The head and the index have a checksum of their own, so that a
file can be read in part.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

import numpy as np

from sad_jax.model.value_range import ValueRange
from sad_jax.storage.compact import tables
from sad_jax.storage.compact.coders import BETA_LEVELS, LONGEST, MOST_SLOPE, Line, Model
from sad_jax.storage.compact.order import Order
from sad_jax.storage.compact.rules import Rules, Steps
from sad_jax.storage.numbers import Cursor, signed_to_bytes, to_bytes

MOST_CURVE_BITS = 30  # of a side, in cells
MOST_CELL_BITS = 24
MOST_LEAST_RADIUS = 2**30  # units, either way
MOST_OFFSET = 2**31
MOST_WEIGHT = 2**13
MOST_OFFSET_OF_CLASS = 16 * LONGEST
MOST_LANE = 2**32  # words
BOX_PARTS = 256  # of the longer side, in a box of influence
_FEATURES = {"tau": 3, "aniso": 3, "radius": 6}
_CHECKSUM = struct.Struct("<I")
_RANGE = struct.Struct("<2f")


@dataclasses.dataclass(frozen=True)
class Head:
    """What must be known before the first site.

    ``num_sites``, ``channels``: of the picture; ``rules``: of its fields; ``curve_bits``: log2 of a
    side of the curve's square, in cells; ``origin``: (x, y) of its corner, in cells from that of
    the picture; ``value_range``: of the colours; ``model``: of their statistics.
    """

    num_sites: int
    channels: int
    rules: Rules
    curve_bits: int
    origin: tuple[int, int]
    value_range: ValueRange
    model: Model

    @property
    def order(self) -> Order:
        return Order(self.num_sites)


@dataclasses.dataclass(frozen=True)
class Index:
    """Where lanes lie: ``base``, ``groups``: their bytes; ``boxes``: int64[groups, 4].

    A box is first and last part of the picture in x, and first and last in y, in which any pixel's
    list may hold a site of the group; a part is 1 / 256 of the longer side, rounded up to whole
    pixels. One that holds nothing ends before it begins.
    """

    base: tuple[int, ...]
    groups: tuple[int, ...]
    boxes: np.ndarray


def box_unit(size: int) -> int:
    """Pixels in a part of a box, for a longer side of so many pixels."""
    return -(-size // BOX_PARTS)


def field_features(channels: int) -> dict[str, int]:
    """How many features each field is predicted from, in the order of the head."""
    return _FEATURES | {f"color{i}": 1 + min(i, 2) for i in range(channels)}


def write_head(head: Head) -> bytes:
    rules = head.rules
    parts = [bytes([head.curve_bits, rules.cell_bits])]
    parts += [signed_to_bytes(value) for value in (*head.origin, rules.least_radius)]
    parts.append(bytes(dataclasses.astuple(rules.steps)))
    parts.append(bytes([not head.value_range.is_unit]))
    if not head.value_range.is_unit:
        parts.append(_RANGE.pack(*head.value_range))
    low, high = (head.model.beta[i] | head.model.beta[i + 1] << 4 for i in range(0, BETA_LEVELS, 2))
    parts.append(bytes([low, high, head.model.ground | head.model.width << 5]))
    for name in field_features(head.channels):
        line = head.model.lines[name]
        parts += [signed_to_bytes(value) for value in (*line.weights, line.offset)]
        parts.append(bytes([line.slope]))
    return b"".join(parts)


def read_head(cursor: Cursor, num_sites: int, channels: int, size: int) -> Head:
    """Undoes ``write_head``; ``size`` is S in pixels."""
    curve_bits, cell_bits = cursor.byte(), cursor.byte()
    if not 1 <= curve_bits <= MOST_CURVE_BITS or cell_bits > MOST_CELL_BITS:
        raise ValueError(f"expected a curve that fits, got {curve_bits} and {cell_bits} bits")
    origin = cursor.signed(MOST_OFFSET), cursor.signed(MOST_OFFSET)
    least_radius = cursor.signed(MOST_LEAST_RADIUS)
    steps = Steps(*cursor.take(len(dataclasses.fields(Steps))))
    flag = cursor.byte()
    value_range = ValueRange(*_RANGE.unpack(cursor.take(_RANGE.size))) if flag else ValueRange()
    low, high = value_range
    if flag > 1 or not (np.isfinite([low, high]).all() and low <= 0 and high >= 1):
        raise ValueError(f"expected a range that holds 0 and 1, got {low:g} to {high:g}")
    shapes = cursor.take(BETA_LEVELS // 2)
    beta = tuple(part for byte in shapes for part in (byte & 15, byte >> 4))
    peak = cursor.byte()
    ground, width = peak & 31, peak >> 5
    if max(beta) >= len(tables.POWERS) or ground > tables.GROUNDS:
        raise ValueError(f"expected shapes of the tables, got {beta} and {ground}")
    lines = {
        name: _read_line(cursor, features) for name, features in field_features(channels).items()
    }
    rules = Rules(steps, size, cell_bits, least_radius)
    model = Model(lines, beta, ground, width)
    return Head(num_sites, channels, rules, curve_bits, origin, value_range, model)


def _read_line(cursor: Cursor, features: int) -> Line:
    weights = tuple(cursor.signed(MOST_WEIGHT) for _ in range(features))
    offset, slope = cursor.signed(MOST_OFFSET_OF_CLASS), cursor.byte()
    if slope > MOST_SLOPE:
        raise ValueError(f"expected a slope of at most {MOST_SLOPE}, got {slope}")
    return Line(weights, offset, slope)


def write_index(index: Index) -> bytes:
    parts = [to_bytes(size // 2) for size in index.base]
    for size, box in zip(index.groups, index.boxes, strict=True):
        parts += [to_bytes(size // 2), bytes(box.tolist())]
    return b"".join(parts)


def read_index(cursor: Cursor, order: Order) -> Index:
    base = tuple(2 * cursor.number(MOST_LANE) for _ in range(order.base_lanes))
    groups, boxes = [], np.zeros((order.groups, 4), np.int64)
    for i in range(order.groups):
        groups.append(2 * cursor.number(MOST_LANE))
        boxes[i] = list(cursor.take(4))
    return Index(base, tuple(groups), boxes)


def sealed(start: bytes, head: bytes) -> bytes:
    """The head with the checksum of it and of what stands before it in the file."""
    return head + _CHECKSUM.pack(zlib.crc32(head, zlib.crc32(start)))


def check_seal(cursor: Cursor, start: bytes) -> None:
    """Reads the checksum of what the cursor has read, and of what stood before it."""
    found = zlib.crc32(bytes(cursor.data[: cursor.at]), zlib.crc32(start))
    (stored,) = _CHECKSUM.unpack(cursor.take(_CHECKSUM.size))
    if stored != found:
        raise ValueError(f"expected the checksum {stored:08x}, got {found:08x}: altered .sad file")
