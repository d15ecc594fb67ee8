"""Pictures written a band of rows at a time, however high they are: PNG, TIFF and ``.npy``.

A writer takes a stream, the picture's shape (H, W, C) and its bands [h, W, C] from the top down.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

PNG_COLORS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to PNG's kinds of pixels
STRIP = 2**18  # bytes of a TIFF's strip, about
LARGEST_TIFF = 2**32 - 2**25  # bytes of pixels from which on it is a BigTIFF

Shape = tuple[int, int, int]
Bands = Iterable[np.ndarray]


def write_npy(stream: BinaryIO, shape: Shape, bands: Bands) -> None:
    """NumPy's own format, of float32."""
    header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, header)
    for band in bands:
        stream.write(band.astype("<f4", copy=False).tobytes())


def write_png(stream: BinaryIO, shape: Shape, bands: Bands) -> None:
    """PNG of uint8 or uint16, 1 to 4 channels: gray, gray and alpha, RGB, RGBA."""
    height, width, channels = shape
    packer, above = zlib.compressobj(), None

    def chunk(name: bytes, body: bytes) -> None:
        stream.write(struct.pack(">I", len(body)) + name + body)
        stream.write(struct.pack(">I", zlib.crc32(name + body)))

    for band in bands:
        size = band.dtype.itemsize
        rows = band.astype(band.dtype.newbyteorder(">"), copy=False).reshape(len(band), -1)
        rows = rows.view(np.uint8)
        if above is None:
            stream.write(b"\x89PNG\r\n\x1a\n")
            kind = struct.pack(">IIBB3x", width, height, 8 * size, PNG_COLORS[channels])
            chunk(b"IHDR", kind)
            above = np.zeros_like(rows[0])
        if packed := packer.compress(_filtered(rows, above, size * channels)):
            chunk(b"IDAT", packed)
        above = rows[-1]
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _filtered(rows: np.ndarray, above: np.ndarray, step: int) -> bytes:
    """Each row as the least differences, by their sum, from what PNG can predict it by.

    ``rows``: uint8[h, bytes]; ``above``: the row before them; ``step``: bytes of a pixel.
    """
    up = np.concatenate([above[None], rows[:-1]])
    left, corner = (np.pad(part[:, :-step], ((0, 0), (step, 0))) for part in (rows, up))
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    by_a, by_b, by_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    paeth = np.where(by_b <= by_c, up, corner)
    paeth = np.where((by_a <= by_b) & (by_a <= by_c), left, paeth)
    kinds = np.array([0, 1, 2, 4], np.uint8)  # of filters
    out = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    least = np.full(len(rows), np.iinfo(np.int64).max)
    for kind, predicted in zip(kinds, (np.zeros_like(rows), left, up, paeth), strict=True):
        left_over = rows - predicted
        size = np.minimum(left_over, -left_over).sum(1, dtype=np.int64)
        better = size < least
        least[better], out[better, 0], out[better, 1:] = size[better], kind, left_over[better]
    return out.tobytes()


def write_tiff(stream: BinaryIO, shape: Shape, bands: Bands, dtype: np.dtype) -> None:
    """TIFF in deflated strips of uint8, uint16 or float32; a BigTIFF where it may be too large."""
    from tifffile import TiffWriter

    height, width, channels = shape
    row_bytes = width * channels * dtype.itemsize
    rows = min(max(1, STRIP // row_bytes), height)
    whole = dtype.kind == "u"
    colors = 3 if channels in (3, 4) else 1
    alpha = channels - colors == 1
    strips = (_deflated(strip, whole) for strip in in_strips(bands, rows))
    with TiffWriter(stream, bigtiff=height * row_bytes > LARGEST_TIFF) as file:
        file.write(
            strips,
            shape=shape if channels > 1 else shape[:2],
            dtype=dtype,
            photometric="rgb" if colors == 3 else "minisblack",
            planarconfig="contig" if channels > 1 else None,
            extrasamples=["unassalpha"] if alpha else None,
            compression="adobe_deflate",
            predictor=2 if whole else None,
            rowsperstrip=rows,
            metadata=None,
        )


def _deflated(strip: np.ndarray, differences: bool) -> bytes:
    """A strip as TIFF packs it, by the differences from pixel to pixel or not."""
    if differences:
        strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
    return zlib.compress(strip.tobytes())


def in_strips(bands: Bands, rows: int) -> Iterator[np.ndarray]:
    """The same picture in bands of so many rows; the last one may be shorter."""
    rest = None
    for band in bands:
        band = band if rest is None else np.concatenate([rest, band])
        full = len(band) // rows * rows
        for top in range(0, full, rows):
            yield band[top : top + rows]
        rest = band[full:] if full < len(band) else None
    if rest is not None:
        yield rest
