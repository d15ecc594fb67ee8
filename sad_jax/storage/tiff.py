"""TIFF in every layout of samples: planar, tiled, min-is-white, 1 to 32 bits, floats, bands.

tifffile takes the file apart (imagecodecs decompresses); what its samples mean is settled here.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sad_jax.storage.color import from_lab
from sad_jax.storage.pixels import Pixels, frames_note, scaled, scaled_by

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = re.compile(rb"II[*+]\0|MM\0[*+]")

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = (
    *range(4),
    5,
    6,
    8,
    9,
)
_UINT, _INT, _FLOAT, _VOID = 1, 2, 3, 4
_JPEG = (7, 33007, 34892)  # decoded to RGB by the codec
_REDUCED, _SHADE = 1, 4  # bits of NewSubfileType: a smaller copy, a mask of transparency


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[TiffPage, mmap.mmap, list[str]]]:
    """The first page of a file that is no smaller copy of another, the file's bytes, and notes."""
    from tifffile import TiffFile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it finds is raised here
    with path.open("rb") as stream, contextlib.ExitStack() as stack:
        data = stack.enter_context(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        count = _count_pages(data)
        page, notes = _choose(stack.enter_context(TiffFile(stream)), count)
        if (depth := page.shaped[1]) != 1:
            raise ValueError(f"a volume of {depth} slices")
        _check_whole(page, len(data))
        yield page, data, notes


def read_rows(path: Path, first: int, end: int) -> Pixels:
    """Some rows; of the file only their strips or tiles are decoded."""
    with opened(path) as (page, data, notes):
        return _pixels(page, _samples_of_rows(page, data, first, end), notes)


def segment_rows(page: TiffPage) -> int:
    """Rows that are decoded together."""
    if page.is_memmappable:
        return 1
    return page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)


def orientation(page: TiffPage) -> int:
    """As in EXIF, 1 for upright."""
    return _tag(page, 274, 1)


def _samples_of_rows(page: TiffPage, data: mmap.mmap, first: int, end: int) -> np.ndarray:
    """The samples [planes, 1, end - first, width, samples] of some rows."""
    planes, _, _, width, samples = page.shaped
    dtype = page.dtype
    assert dtype is not None  # of a page that was chosen
    found = np.empty((planes, 1, end - first, width, samples), dtype)
    if page.is_memmappable:
        dtype, at = dtype.newbyteorder(page.parent.byteorder), page.dataoffsets[0]
        found[:] = np.ndarray(page.shaped, dtype, data, at)[:, :, first:end]
        return found
    height = segment_rows(page)
    across = -(-width // page.tilewidth) if page.is_tiled else 1
    of_plane = len(page.dataoffsets) // planes
    wanted = range(first // height * across, -(-end // height) * across)
    for index in (plane * of_plane + i for plane in range(planes) for i in wanted):
        at, size = page.dataoffsets[index], page.databytecounts[index]
        segment, (plane, _, top, left, _), _ = page.decode(
            data[at : at + size], index, jpegtables=page.jpegtables
        )
        assert segment is not None  # none is empty
        low, high = max(first, top), min(end, top + segment.shape[1])
        right = min(left + segment.shape[2], width)
        part = segment[0, low - top : high - top, : right - left]
        found[plane, 0, low - first : high - first, left:right] = part
    return found


def _pixels(page: TiffPage, samples: np.ndarray, notes: list[str]) -> Pixels:
    """What samples [planes, 1, height, width, samples] mean."""
    height, width = samples.shape[2:4]
    samples = np.moveaxis(samples[:, 0], 0, 2).reshape(height, width, -1)
    samples = samples.view(np.uint8) if samples.dtype == bool else samples
    pixels = _interpret(page, samples)
    pixels.profile = page.iccprofile
    pixels.orientation = orientation(page)
    pixels.notes += notes
    return pixels


def _count_pages(data: mmap.mmap) -> int:
    """Follows the chain of directories, which tifffile does for ever if it runs in a circle."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, count, entry = (order + "Q", order + "Q", 20) if big else (order + "I", order + "H", 12)
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(offset, data, 8 if big else 4)
        while at:
            if at in seen:
                raise ValueError("a TIFF whose pages run in a circle")
            seen.add(at)
            (entries,) = struct.unpack_from(count, data, at)
            (at,) = struct.unpack_from(offset, data, at + struct.calcsize(count) + entries * entry)
    except struct.error:
        raise ValueError("a truncated TIFF") from None
    return len(seen)


def _choose(file: TiffFile, count: int) -> tuple[TiffPage, list[str]]:
    pages = [file.pages[i].aspage() for i in range(count)]
    whole = [page for page in pages if not int(page.subfiletype) & _REDUCED]
    if not whole:
        raise ValueError("a TIFF of previews alone (a raw photograph?)")
    count = sum(not int(page.subfiletype) & _SHADE for page in whole)
    if len(pages) == 1 and file.series:  # ImageJ and tifffile may store many in one page
        count = max(count, file.series[0].size // max(pages[0].size, 1))
    notes = frames_note(count)
    if any(int(page.subfiletype) & _SHADE for page in whole[1:]):
        notes.append("expected a picture alone, got also a mask of transparency, not applied")
    return whole[0], notes


def _check_whole(page: TiffPage, size: int) -> None:
    """tifffile fills what is missing with zeros; this raises."""
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts) or not all(counts) or not all(offsets):
        raise ValueError("a TIFF in which pixels are missing")
    if max(at + count for at, count in zip(offsets, counts, strict=True)) > size:
        raise ValueError("a truncated TIFF")
    if page.compression == 1 and sum(counts) < -(-page.size * _bits(page) // 8):
        raise ValueError("a truncated TIFF")
    if len(counts) < int(np.prod(page.chunked, dtype=np.int64)):
        raise ValueError("a TIFF in which pixels are missing")


def _bits(page: TiffPage) -> int:
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise ValueError(f"a TIFF of samples of {bits} bits")
    return bits


def _interpret(page: TiffPage, samples: np.ndarray) -> Pixels:
    """Scales the samples and turns palettes, inverted gray, YCbCr and Lab into gray or RGB."""
    bits, photometric = _bits(page), int(page.photometric)
    if photometric == _PALETTE:
        return _from_palette(page, samples)
    if photometric in (_LAB, _ICC_LAB):
        return _from_lab(samples, photometric, bits, int(page.sampleformat))
    kind = int(page.sampleformat)
    if photometric == _WHITE_IS_ZERO:
        if kind not in (_UINT, _VOID):
            raise ValueError("a TIFF of gray that is neither unsigned nor brighter by its values")
        samples[..., 0] ^= samples.dtype.type(2**bits - 1)
    values, bits = _scale(samples, kind, bits)
    if photometric == _YCBCR and (page.compression not in _JPEG or page.planarconfig != 1):
        values[..., :3] = _from_ycbcr(page, values[..., :3])
    colors = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _YCBCR: 3, _CMYK: 4}.get(photometric)
    if colors is None:
        raise ValueError(f"a TIFF of colours that are not read ({page.photometric!r})")
    if values.shape[2] < colors or (colors == 4 and _tag(page, 332, 1) != 1):
        raise ValueError(f"a TIFF of {values.shape[2]} samples that are no {page.photometric!r}")
    return Pixels(values, colors=colors, bits=bits, associated=_is_associated(page, colors))


def _is_associated(page: TiffPage, colors: int) -> bool:
    extra = [int(kind) for kind in page.extrasamples]
    return bool(extra) and extra[0] == 1 and page.samplesperpixel == colors + len(extra)


def _scale(samples: np.ndarray, kind: int, bits: int) -> tuple[np.ndarray, int]:
    """Unsigned by their bits; signed by the largest value of their type, if none is negative."""
    if kind == _FLOAT:
        return samples.astype(np.float32), 0
    if kind in (_UINT, _VOID):
        return scaled(samples, bits), bits
    if kind != _INT:
        raise ValueError("a TIFF of complex numbers")
    lowest = samples.min()
    if lowest < 0:
        raise ValueError(f"signed integers down to {lowest}, where 0 is black")
    return scaled_by(samples, 2 ** (bits - 1) - 1), bits


def _from_palette(page: TiffPage, samples: np.ndarray) -> Pixels:
    table = page.colormap
    if table is None or samples.shape[2] > 2:
        raise ValueError("a TIFF with a broken palette")
    if samples[..., 0].max() >= table.shape[1]:
        raise ValueError(f"colour {samples[..., 0].max()} of a palette of {table.shape[1]}")
    # tables of 8 bits are written shifted by 8, against the standard, by almost everybody
    colors = scaled(table, 16) if (table & 255).any() else scaled(table >> 8, 8)
    values = colors.T[samples[..., 0].astype(np.intp)]
    if samples.shape[2] == 2:
        alpha, _ = _scale(samples[..., 1:], int(page.sampleformat), _bits(page))
        values = np.concatenate([values, alpha], axis=2)
    return Pixels(values, colors=3, bits=8 if not (table & 255).any() else 16)


def _from_ycbcr(page: TiffPage, values: np.ndarray) -> np.ndarray:
    """By the file's own coefficients and ranges, which the standard gives defaults."""
    if _bits(page) != 8 or values.shape[2] < 3 or (page.planarconfig != 1 and page.is_subsampled):
        raise ValueError(f"a TIFF of YCbCr in {_bits(page)} bits, or of planes of several sizes")
    red, green, blue = _fractions(_tag(page, 529, (299, 1000, 587, 1000, 114, 1000)))
    span = _fractions(_tag(page, 532, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)))
    low, high = np.array(span[::2]), np.array(span[1::2])
    y, cb, cr = np.moveaxis((values * 255.0 - low) * ([255, 127, 127] / (high - low)), -1, 0)
    r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
    rgb = np.stack([r, (y - blue * b - red * r) / green, b], axis=-1) / 255
    return np.clip(rgb, 0, 1).astype(np.float32)


def _from_lab(samples: np.ndarray, photometric: int, bits: int, kind: int) -> Pixels:
    """CIE Lab has signed a* and b*, ICC Lab has them shifted; both in 8 or 16 bits."""
    if samples.shape[2] < 3 or bits not in (8, 16) or kind == _FLOAT:
        raise ValueError(f"a TIFF of Lab colours of {samples.shape[2]} samples, {bits} bits")
    lab = samples[..., :3].astype(np.float64)
    unit = 1 if bits == 8 else 256
    if photometric == _LAB:
        whole = 2**bits - 1
        lab[..., 1:] -= (lab[..., 1:] >= 2 ** (bits - 1)) * 2.0**bits
    else:
        whole = 255 if bits == 8 else 0xFF00
        lab[..., 1:] -= 128 * unit
    lab[..., 0] *= 100 / whole
    lab[..., 1:] /= unit
    alpha = scaled(samples[..., 3:], bits)
    return Pixels(np.concatenate([from_lab(lab), alpha], axis=2), colors=3, bits=bits)


def _tag(page: TiffPage, code: int, default):
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _fractions(value) -> list[float]:
    """RATIONALs, as a flat list of numerators and denominators."""
    return [a / b for a, b in zip(value[::2], value[1::2], strict=True)]
