"""The ``.sad`` container: a checked header, then the sites as one codec packs them.

Little-endian, without gaps:

    offset  type   meaning
    0       4 B    magic, 89 53 41 44 (0x89 "SAD")
    4       u8     format version, 1
    5       u8     codec of the payload (0: raw float32)
    6       u8     K, sites in a list
    7       u8     cell size in pixels
    8       u16    width in pixels
    10      u16    height in pixels
    12      u16    channels
    14      u32    number of sites
    18      u32    payload length in bytes
    22      u32    CRC-32 of bytes 0 to 21 and the payload
    26      ...    payload, to the end of the file

Codec 0 stores each number of a site as one contiguous plane of float32, N values a plane: x, y,
log_tau, radius, the channels, direction x, direction y, log_aniso.
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

MAGIC = b"\x89SAD"
VERSION = 1
RAW = 0

_HEADER = struct.Struct("<4s4B3H2I")
_CHECKSUM = struct.Struct("<I")
_START = _HEADER.size + _CHECKSUM.size
_FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")


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


def encode(sites: Sites, canvas: Canvas | tuple[int, int]) -> bytes:
    """Packs sites and their canvas into the bytes of a ``.sad`` file.

    Args:
      sites: N >= 1 sites of any number of channels, finite.
      canvas: (H, W) in pixels, or a ``Canvas`` with K and cell size.

    Returns:
      The file's bytes; ``decode`` gives back the very same float32 values.

    Raises:
      ValueError: for fields whose shapes do not fit, values that are not finite, or a canvas or a
        count that the header cannot hold.

    Example:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.ones((8, 8, 3)), 4, key=jax.random.key(0))
      >>> data = sad.encode(sites, (8, 8))
      >>> len(data), sad.decode(data)[1]
      (186, Canvas(shape=(8, 8), k=8, cell=1))
    """
    canvas = Canvas.of(canvas)
    planes = _planes(sites)
    payload = planes.tobytes()
    counts = (canvas.width, canvas.height, sites.channels, planes.shape[1], len(payload))
    try:
        header = _HEADER.pack(MAGIC, VERSION, RAW, canvas.k, canvas.cell, *counts)
    except struct.error:
        raise ValueError(
            "expected at most 65535 pixels a side, 65535 channels and 4 GiB of sites, got "
            f"{canvas.width}x{canvas.height}, {sites.channels} channels and {len(payload)} bytes"
        ) from None
    return header + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def decode(data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> tuple[Sites, Canvas]:
    """Unpacks the bytes of a ``.sad`` file.

    Args:
      data: the whole file.
      max_pixels: of the canvas, as in ``load``.

    Returns:
      The sites, bit for bit those that were stored, and the canvas with K and cell size.

    Raises:
      ValueError: if the bytes are not a whole and unaltered ``.sad`` file that this version reads,
        or the canvas is above ``max_pixels``.
    """
    header = read_header(data)
    check_size(header.width, header.height, header.channels, max_pixels)
    fields = _CODECS[header.codec](header, memoryview(data)[_START:])
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
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"expected a .sad file, got the first bytes {bytes(data[:4])!r}")
    if len(data) < _START:
        raise ValueError(f"expected a .sad header of {_START} bytes, got {len(data)}: truncated")
    header = Header(*_HEADER.unpack_from(data))
    if header.version != VERSION:
        raise ValueError(f"expected a .sad file of version {VERSION}, got {header.version}")
    length = len(data) - _START
    if length != header.payload_bytes:
        fault = "truncated" if length < header.payload_bytes else "trailing bytes"
        raise ValueError(
            f"expected a payload of {header.payload_bytes} bytes, got {length}: {fault}"
        )
    (stored,) = _CHECKSUM.unpack_from(data, _HEADER.size)
    found = zlib.crc32(memoryview(data)[_START:], zlib.crc32(memoryview(data)[: _HEADER.size]))
    if stored != found:
        raise ValueError(f"expected the checksum {stored:08x}, got {found:08x}: altered .sad file")
    if header.codec not in _CODECS:
        raise ValueError(f"expected a codec of {sorted(_CODECS)}, got {header.codec}")
    if not header.num_sites or not header.channels:
        raise ValueError(
            "expected at least one site and one channel, "
            f"got {header.num_sites} sites of {header.channels} channels"
        )
    _ = header.canvas  # raises for a size, K or cell size that no canvas has
    return header


def _planes(sites: Sites) -> np.ndarray:
    """The numbers of N sites as float32[7 + C, N], checked."""
    check_sites(sites)
    check_values(sites := in_float32(sites))
    fields = [getattr(sites, name) for name in _FIELDS]
    planes = np.concatenate([field.reshape(sites.num_sites, -1).T for field in fields])
    return planes.astype("<f4", order="C")


def _unpack_raw(header: Header, payload: memoryview) -> dict[str, np.ndarray]:
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


_CODECS: dict[int, Callable[[Header, memoryview], dict[str, np.ndarray]]] = {RAW: _unpack_raw}
