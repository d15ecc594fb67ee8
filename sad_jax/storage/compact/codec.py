"""Codec 1 as a whole: numbers to a payload, and a payload, whole or in part, to fields of sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from sad_jax.storage.compact.coders import Coding
from sad_jax.storage.compact.colors import from_planes
from sad_jax.storage.compact.fixed import OCTAVE, ONE, cosine, sine
from sad_jax.storage.compact.layout import (
    Head,
    Index,
    check_seal,
    read_head,
    read_index,
    sealed,
    write_head,
    write_index,
)
from sad_jax.storage.compact.order import Batch, Order
from sad_jax.storage.compact.rans import Reader, Writer
from sad_jax.storage.compact.rules import LIGHT, PIXEL
from sad_jax.storage.compact.study import Study
from sad_jax.storage.compact.walk import Coder, Fields, walk
from sad_jax.storage.numbers import Cursor

LN_2 = 0.6931471805599453
COLORS_PER_BYTE = 24  # of sites and channels, so that a few bytes cannot promise much memory
GROUPS_AT_ONCE = 1024  # decoded, which takes 100 MB beside the sites
_HEAD_GUESS = 4096  # bytes of a file that are read at first

Numbers = dict[str, np.ndarray]
Read = Callable[[int, int], bytes]


@dataclasses.dataclass(frozen=True)
class Rounded:
    """A picture in whole numbers, in the order of the curve, ready to be packed.

    ``head``: with the model that predicts them well; ``numbers``: int64[N] each: ``place`` on the
    curve, counts of steps ``tau``, ``aniso``, ``radius``, ``color0`` ..., the level ``angle``, and
    ``in_x, in_y`` in the cell; ``fields``: what they mean.
    """

    head: Head
    numbers: Numbers
    fields: Fields

    @classmethod
    def of(cls, head: Head, numbers: Numbers) -> Rounded:
        """``head``: without a model."""
        study = Study(numbers)
        fields = _run(study, head)
        return cls(dataclasses.replace(head, model=study.model()), numbers, fields)

    def sites(self) -> dict[str, np.ndarray]:
        """The fields of ``Sites``, float32, as a decoder finds them."""
        return to_floats(self.head, self.fields, np.arange(self.head.num_sites))

    def count_bytes(self) -> int:
        """About the bytes of the payload, without writing it."""
        writer, order = Writer(0), self.head.order
        _run(Coding(writer, self.head.model, self.numbers), self.head)
        lanes = 4 * (order.base_lanes + order.groups) + 6 * order.groups
        return len(write_head(self.head)) + lanes + int(np.ceil(writer.bits() / 8))


def pack(start: bytes, rounded: Rounded, boxes: np.ndarray) -> bytes:
    """The payload.

    Args:
      start: what stands before it in the file, which its checksum covers, too.
      rounded: the sites.
      boxes: int64[groups, 4], see ``Index``.
    """
    head = rounded.head
    order, fields = head.order, Fields.empty(head.num_sites, head.channels)
    lanes: list[list[bytes]] = []
    for batches, count in _parts(order):
        writer = Writer(count)
        coder = Coding(writer, head.model, rounded.numbers)
        walk(coder, order, head.rules, head.curve_bits, batches, fields)
        lanes.append(writer.finish())
    base, groups = lanes[0], lanes[1] if order.groups else []
    index = Index(tuple(map(len, base)), tuple(map(len, groups)), boxes)
    payload = sealed(start, write_head(head) + write_index(index)) + b"".join(base + groups)
    return payload.ljust(least_bytes(head.num_sites, head.channels), b"\0")


def least_bytes(num_sites: int, channels: int) -> int:
    """Of a payload."""
    return -(-num_sites * max(channels, 3) // COLORS_PER_BYTE)


class Payload:
    """A payload whose head is read; sites are read as they are wanted.

    Attributes:
      head, index: see ``layout``.
      fields: of all sites, filled as they are read.
      bytes_read: of the payload so far.

    Raises:
      ValueError: bytes that are no payload of codec 1.
    """

    def __init__(
        self, read: Read, length: int, start: bytes, num_sites: int, channels: int, size: int
    ):
        """``read`` gives (offset, count) bytes of the payload of so many bytes in all."""
        least = least_bytes(num_sites, channels)
        if length < least:
            raise ValueError(
                f"expected at least {least} bytes for {num_sites} sites of {channels} channels, "
                f"got {length}"
            )
        self._read = read
        self.head, self.index, first = self._read_start(start, length, num_sites, channels, size)
        sizes = np.array([*self.index.base, *self.index.groups], np.int64)
        self._starts = first + np.concatenate([[0], np.cumsum(sizes)])
        end = int(self._starts[-1])
        if max(end, least) != length:
            raise ValueError(f"expected lanes up to the end, at {length} bytes, got {end}")
        self.bytes_read = first
        self.fields = Fields.empty(num_sites, channels)
        self._base_level = self.head.order.top + 1  # down to which the base is read
        self._groups: set[int] = set()

    def _read_start(self, start, length, num_sites, channels, size) -> tuple[Head, Index, int]:
        """Reads as much as the head takes, which is known only when it has been read."""
        wanted = min(_HEAD_GUESS, length)
        while True:
            cursor = Cursor(self._read(0, wanted))
            try:
                head = read_head(cursor, num_sites, channels, size)
                index = read_index(cursor, head.order)
                check_seal(cursor, start)
                return head, index, cursor.at
            except ValueError:
                if wanted == length:
                    raise
                wanted = min(8 * wanted, length)

    def read_base(self, lowest: int = 0) -> None:
        """Reads the base down to a level; it begins anew where more is wanted than before."""
        order = self.head.order
        lowest = min(max(lowest, order.base_level), order.top)
        if self._base_level <= lowest:
            return
        whole = lowest == order.base_level
        self._walk(range(order.base_lanes), order.base(lowest), whole)
        self._base_level = lowest

    def read_groups(self, groups: np.ndarray, lowest: int = 0) -> None:
        """Reads groups, by their numbers, that are not read yet, after the base."""
        self.read_base()
        new = np.array(sorted(set(groups.tolist()) - self._groups), np.int64)
        for start in range(0, len(new), GROUPS_AT_ONCE):
            some = new[start : start + GROUPS_AT_ONCE]
            lanes = self.head.order.base_lanes + some
            self._walk(lanes.tolist(), self.head.order.within(some, lowest), lowest == 0)
        if lowest == 0:
            self._groups |= set(new.tolist())

    def read_all(self) -> None:
        self.read_groups(np.arange(self.head.order.groups))

    def _walk(self, lanes, batches: list[Batch], whole: bool) -> None:
        starts = self._starts
        data = [self._read(int(starts[i]), int(starts[i + 1] - starts[i])) for i in lanes]
        self.bytes_read += sum(map(len, data))
        reader, head = Reader(data), self.head
        coder = Coding(reader, head.model)
        walk(coder, head.order, head.rules, head.curve_bits, batches, self.fields)
        if whole:
            reader.finish()

    def sites(self, which: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of ``Sites``, float32, of sites that are read, by their numbers int64[M]."""
        return to_floats(self.head, self.fields, which)


def to_floats(head: Head, fields: Fields, which: np.ndarray) -> dict[str, np.ndarray]:
    """What whole numbers mean, as float32; one rounding each, the same on every machine."""
    corner = np.array(head.origin, np.int64) << head.rules.cell_bits
    low, high = (float(value) for value in head.value_range)
    light = from_planes(fields.color[which]) / LIGHT
    angle = fields.angle[which]
    found = {
        "position": (fields.position[which] + corner) / PIXEL,
        "log_tau": fields.tau[which] * LN_2 / OCTAVE,
        "radius": fields.radius[which] / PIXEL,
        "color": light if head.value_range.is_unit else low + light * (high - low),
        "direction": np.stack([cosine(angle), sine(angle)], axis=1) / ONE,
        "log_aniso": fields.aniso[which] * LN_2 / OCTAVE,
    }
    return {name: value.astype(np.float32) for name, value in found.items()}


def _parts(order: Order) -> list[tuple[list[Batch], int]]:
    """The batches of the base and of all groups, and their lanes."""
    parts = [(order.base(), order.base_lanes)]
    if order.groups:
        parts.append((order.within(np.arange(order.groups)), order.groups))
    return parts


def _run(coder: Coder, head: Head) -> Fields:
    """The fields of all sites, by one walk over them."""
    fields = Fields.empty(head.num_sites, head.channels)
    for batches, _ in _parts(head.order):
        walk(coder, head.order, head.rules, head.curve_bits, batches, fields)
    return fields
