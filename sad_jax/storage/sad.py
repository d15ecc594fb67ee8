"""The ``.sad`` container: a checked header, then the sites as one codec packs them.

Without gaps; whole numbers above a byte as in ``numbers``, others little-endian:

    magic, 89 53 41 44 (0x89 "SAD")                     4 bytes
    format version, 2                                   1 byte
    codec of the payload: 0 raw float32, 1 compact      1 byte
    K, sites in a list                                  1 byte
    cell size in pixels                                 1 byte
    width, height in pixels                             numbers up to 2^31 - 1
    channels                                            a number up to 65,535
    number of sites                                     a number up to 2^31 - 1
    payload length in bytes                             a number up to 2^40
    CRC-32 of all of the file but itself                4 bytes
    payload, to the end of the file

Codec 0 stores each number of a site as one contiguous plane of float32, N values a plane: x, y,
log_tau, radius, the channels, direction x, direction y, log_aniso. Codec 1 is in ``compact``; all
of it is specified in ``docs/format.md``.

Version 1, which is read and no longer written, had fixed fields after the cell size: width, height
and channels u16, number of sites and payload length u32, the CRC-32, the payload.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas
from sad_jax.model.room import MAX_PIXELS, check_size
from sad_jax.model.sites import Sites, check_sites, check_values, in_float32
from sad_jax.storage.compact.codec import Payload
from sad_jax.storage.numbers import Cursor, to_bytes

MAGIC = b"\x89SAD"
VERSION = 2
RAW, COMPACT = 0, 1
MOST_SIDE = MOST_SITES = 2**31 - 1
MOST_CHANNELS = 2**16 - 1
MOST_PAYLOAD = 2**40
_LIMITS = (MOST_SIDE, MOST_SIDE, MOST_CHANNELS, MOST_SITES, MOST_PAYLOAD)
LONGEST_HEADER = 64  # bytes, and more

CHECKSUM_BYTES = 4
_START = struct.Struct("<4s4B")
_FIXED = struct.Struct("<3H2I")  # of version 1
_CHECKSUM = struct.Struct("<I")
_FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
Fields = dict[str, np.ndarray]


class Header(NamedTuple):
    """What a ``.sad`` file says before its payload, in the order of the bytes."""

    magic: bytes
    version: int
    codec: int
    k: int
    cell: int
    width: int
    height: int
    channels: int
    num_sites: int
    payload_bytes: int

    @property
    def canvas(self) -> Canvas:
        return Canvas((self.height, self.width), k=self.k, cell=self.cell)


def encode_raw(sites: Sites, canvas: Canvas | tuple[int, int]) -> bytes:
    """Packs sites and their canvas into a file of codec 0, which gives the very same float32 back.

    Raises:
      ValueError: for fields whose shapes do not fit, values that are not finite, or a canvas or a
        count that the header cannot hold.
    """
    canvas = Canvas.of(canvas)
    planes = _planes(sites)
    payload = planes.tobytes()
    return join(write_start(RAW, canvas, sites.channels, planes.shape[1]), payload)


def join(start: bytes, payload: bytes) -> bytes:
    """A file of what ``write_start`` gives and a payload."""
    header = start + to_bytes(len(payload))
    return header + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def write_start(codec: int, canvas: Canvas, channels: int, num_sites: int) -> bytes:
    """A file's header up to the length of the payload; raises where it cannot hold the values."""
    values, limits = (canvas.width, canvas.height, channels, num_sites), _LIMITS[:-1]
    if any(value > limit for value, limit in zip(values, limits, strict=True)):
        raise ValueError(
            f"expected at most {MOST_SIDE} pixels a side, {MOST_CHANNELS} channels and "
            f"{MOST_SITES} sites, got {canvas.width}x{canvas.height}, {channels} channels and "
            f"{num_sites} sites"
        )
    start = _START.pack(MAGIC, VERSION, codec, canvas.k, canvas.cell)
    return start + b"".join(map(to_bytes, values))


def decode(data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> tuple[Sites, Canvas]:
    """Unpacks the bytes of a ``.sad`` file.

    Args:
      data: the whole file.
      max_pixels: of the canvas, as in ``load``.

    Returns:
      The sites as they were stored, and the canvas with K and cell size.

    Raises:
      ValueError: if the bytes are not a whole and unaltered ``.sad`` file that this version reads,
        or the canvas is above ``max_pixels``.
    """
    header = read_header(data)
    check_size(header.width, header.height, header.channels, max_pixels)
    fields = _CODECS[header.codec](header, memoryview(data)[len(data) - header.payload_bytes :])
    check_values(sites := Sites(**jax.device_put(fields)))
    return sites, header.canvas


def read_header(data: bytes) -> Header:
    """Reads and checks everything of a ``.sad`` file but the values of its sites.

    Args:
      data: the whole file.

    Returns:
      The header, whose lengths and checksum fit the data.

    Raises:
      ValueError: if the bytes are not a whole and unaltered ``.sad`` file that this version reads.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"expected the bytes of a .sad file, got {describe(data)}")
    header, end, stored = parse_header(bytes(data[:LONGEST_HEADER]))
    length = len(data) - end - _CHECKSUM.size
    check_length(header, length)
    found = zlib.crc32(memoryview(data)[:end])
    found = zlib.crc32(memoryview(data)[end + _CHECKSUM.size :], found)
    compare_checksums(stored, found)
    return header


def compare_checksums(stored: int, found: int) -> None:
    """Raises where a file does not have the checksum that it holds."""
    if stored != found:
        raise ValueError(f"expected the checksum {stored:08x}, got {found:08x}: altered .sad file")


def check_length(header: Header, length: int) -> None:
    """Raises unless as many bytes follow as the header says."""
    if length != header.payload_bytes:
        fault = "truncated" if length < header.payload_bytes else "trailing bytes"
        raise ValueError(
            f"expected a payload of {header.payload_bytes} bytes, got {length}: {fault}"
        )


def parse_header(start: bytes) -> tuple[Header, int, int]:
    """The header from a file's first ``LONGEST_HEADER`` bytes, or all of it.

    Returns:
      The header, where its checksum stands, and the checksum, not compared yet.
    """
    if start[: len(MAGIC)] != MAGIC:
        raise ValueError(f"expected a .sad file, got the first bytes {start[:4]!r}")
    cursor = Cursor(start)
    try:
        first = _START.unpack(cursor.take(_START.size))
        version = first[1]
        if version not in (1, VERSION):
            raise ValueError(f"expected a .sad file of version 1 or {VERSION}, got {version}")
        if version == 1:
            rest: tuple[int, ...] = _FIXED.unpack(cursor.take(_FIXED.size))
        else:
            rest = tuple(cursor.number(limit) for limit in _LIMITS)
        end = cursor.at
        (stored,) = _CHECKSUM.unpack(cursor.take(_CHECKSUM.size))
    except ValueError as error:
        raise ValueError(f"{error}, in a .sad header of {len(start)} bytes") from None
    header = Header(*first, *rest)
    if header.codec not in _CODECS or (version == 1 and header.codec != RAW):
        raise ValueError(f"expected a codec of {sorted(_CODECS)}, got {header.codec}")
    if not header.num_sites or not header.channels:
        raise ValueError(
            "expected at least one site and one channel, "
            f"got {header.num_sites} sites of {header.channels} channels"
        )
    _ = header.canvas  # raises for a size, K or cell size that no canvas has
    return header, end, stored


def open_payload(header: Header, read: Callable[[int, int], bytes]) -> Payload:
    """A payload of codec 1, to be read in part by ``read``: (offset, count) -> bytes of it."""
    start = write_start(COMPACT, header.canvas, header.channels, header.num_sites)
    shape = header.num_sites, header.channels, header.canvas.size
    return Payload(read, header.payload_bytes, start, *shape)


def _planes(sites: Sites) -> np.ndarray:
    """The numbers of N sites as float32[7 + C, N], checked."""
    check_sites(sites)
    check_values(sites := in_float32(sites))
    fields = [getattr(sites, name) for name in _FIELDS]
    planes = np.concatenate([field.reshape(sites.num_sites, -1).T for field in fields])
    return planes.astype("<f4", order="C")


def _unpack_raw(header: Header, payload: memoryview) -> Fields:
    """Codec 0: the fields of ``Sites`` from float32 planes."""
    rows = 7 + header.channels
    expected = 4 * rows * header.num_sites
    if len(payload) != expected:
        raise ValueError(
            f"expected {expected} bytes for {header.num_sites} sites of {header.channels} "
            f"channels, got {len(payload)}"
        )
    planes = np.frombuffer(payload, "<f4").reshape(rows, header.num_sites)
    return {
        "position": planes[:2].T,
        "log_tau": planes[2],
        "radius": planes[3],
        "color": planes[4:-3].T,
        "direction": planes[-3:-1].T,
        "log_aniso": planes[-1],
    }


def _unpack_compact(header: Header, payload: memoryview) -> Fields:
    """Codec 1."""
    opened = open_payload(header, lambda at, count: bytes(payload[at : at + count]))
    opened.read_all()
    return opened.sites(np.arange(header.num_sites))


_CODECS: dict[int, Callable[[Header, memoryview], Fields]] = {
    RAW: _unpack_raw,
    COMPACT: _unpack_compact,
}
