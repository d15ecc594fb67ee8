"""The formats that Pillow reads: JPEG, GIF, WebP, AVIF, BMP, TGA, DDS, PSD, ...

Pillow is asked for raster formats by name, never for those that start a program (EPS) or draw
(WMF), past ``Image.open``, which has a limit of its own that all threads share. Where it would cut
bits, the file is refused, or read by imagecodecs.
"""

from __future__ import annotations

import io
import re
import struct

import numpy as np
from PIL import Image, ImageFile

from sad_jax.model.room import check_size
from sad_jax.storage.boxes import icc_of, other_colors, read_deep
from sad_jax.storage.color import from_lab
from sad_jax.storage.pixels import Pixels, frames_note, scaled

FORMATS = (  # in the order of their detection: TGA has no magic
    *("JPEG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "JPEG2000", "PSD", "DDS", "BLP", "ICNS", "ICO"),
    *("CUR", "PCX", "DCX", "FLI", "FTEX", "GBR", "MSP", "QOI", "SGI", "SUN", "XBM", "XPM"),
    *("PIXAR", "SPIDER", "TGA"),
)
_SHORT = {  # raw modes of few bits, which Pillow spreads over 0 to 255 and rounds down
    "BGR;15": (31, 31, 31),
    "BGR;16": (31, 63, 31),
    "BGRA;15": (31, 31, 31, 1),
    "BGRA;15Z": (31, 31, 31, 1),
    "BGRX;15": (31, 31, 31),
}
_DEEP = re.compile(r";(?:12|16|24|32)")  # in a raw mode
_PALETTES = ("P", "PA")
_COLORS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "CMYK": 4, "F": 1}


def read_raster(data: bytes, limit: int) -> Pixels:
    """Decodes the first picture of the file, or the largest of an icon."""
    with _open(data, limit) as picture:
        width, height = picture.size
        check_size(width, height, 4, limit)
        notes = _fourth_bytes(picture, data)
        frames, read = _frames(picture, data)
        values, colors, bits = read_deep(picture.format, data, frames) or _values(picture)
        profile = picture.info.get("icc_profile") or icc_of(data)
        return Pixels(
            values,
            colors=colors,
            bits=bits,
            profile=profile,
            orientation=picture.getexif().get(0x0112, 1),
            notes=frames_note(frames, read) + ([] if profile else other_colors(data)) + notes,
        )


def _open(data: bytes, limit: int) -> ImageFile.ImageFile:
    """What ``Image.open`` does, with our formats and our limit."""
    Image.init()
    _check_hidden_sizes(data, limit)
    reason = f"{len(data)} bytes of no known format"
    for name in filter(Image.OPEN.__contains__, FORMATS):
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is not True:
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            if accept is not None:
                reason = f"{len(data)} bytes of {name}, broken or of a kind that is not read"
    raise ValueError(reason)


def _check_hidden_sizes(data: bytes, limit: int) -> None:
    """WebP takes memory as it is opened, and an icon's entries may be larger than they say."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        width, height = _webp_size(data)
        check_size(width, height, 4, limit)
    elif data[:4] in (b"\0\0\1\0", b"\0\0\2\0", b"icns"):
        for match in re.finditer(rb"\x89PNG\r\n\x1a\n....IHDR(.{8})", data, re.DOTALL):
            width, height = struct.unpack(">II", match[1])
            check_size(width, height, 4, limit)


def _webp_size(data: bytes) -> tuple[int, int]:
    if len(data) >= 30 and data[12:16] == b"VP8X":
        low, high = struct.unpack("<IH", data[24:30])
        return (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1
    if len(data) >= 30 and data[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if len(data) >= 25 and data[12:16] == b"VP8L":
        (both,) = struct.unpack("<I", data[21:25])
        return (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
    return 0, 0  # libwebp refuses it


def _frames(picture: ImageFile.ImageFile, data: bytes) -> tuple[int, str]:
    """How many pictures the file holds, and which of them is read."""
    if picture.format in ("ICO", "CUR"):
        return int.from_bytes(data[4:6], "little"), "the largest"
    if picture.format == "ICNS":
        return len(picture.info.get("sizes", ())), "the largest"
    if picture.format == "DDS" and len(data) >= 148:
        flags, size = data[113], int.from_bytes(data[140:144], "little")
        array = size if data[84:88] == b"DX10" else 1
        depth = int.from_bytes(data[24:28], "little") if flags & 0x20 else 1  # a volume
        return max(array, 1) * max(depth, 1) * (6 if flags & 0x02 else 1), "the first"  # a cube
    if picture.format == "PSD":
        return 1, "the first"  # the layers are merged in the picture
    return getattr(picture, "n_frames", 1), "the first"


def _values(picture: ImageFile.ImageFile) -> tuple[np.ndarray, int, int]:
    """Scaled values, the number of channels that are colour, and bits."""
    levels = _levels(picture)
    picture.load()
    mode = picture.mode
    if mode in _PALETTES:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
    elif mode in ("RGBX", "YCbCr"):
        mode = "RGB"
    array = np.atleast_3d(np.asarray(picture if mode == picture.mode else picture.convert(mode)))
    if picture.format == "XBM":
        array = ~array  # set bits are ink, which Pillow has white
    if mode.startswith("I;16"):
        return scaled(array, 16), 1, 16
    if mode == "LAB":
        return from_lab(array * [100 / 255, 1.0, 1.0] - [0.0, 128.0, 128.0]), 3, 8
    if mode not in _COLORS:
        raise ValueError(f"{picture.format} of values that are not read ({mode})")
    if mode == "F":
        return array, 1, 0
    if levels:
        largest = np.array([*levels, 255][: array.shape[2]])
        values = (np.rint(array / 255 * largest) / largest).astype(np.float32)
    else:
        values = scaled(array, 1 if mode == "1" else 8)
    key = picture.info.get("transparency")
    if key is not None and mode in ("1", "L", "RGB") and mode == picture.mode:
        opaque = (array != np.reshape(key, -1)).any(axis=2, keepdims=True)
        values = np.concatenate([values, opaque.astype(np.float32)], axis=2)
    return values, _COLORS[mode], 8


def _fourth_bytes(picture: ImageFile.ImageFile, data: bytes) -> list[str]:
    """A BMP of 4 bytes a pixel without a mask for the last has no alpha, but some mean it."""
    if picture.format not in ("BMP", "DIB"):
        return []
    (tile,) = picture.tile
    if not isinstance(tile.args, tuple) or tile.args[0] != "BGRX":
        return []
    width, height = picture.size
    fourth = np.frombuffer(data, np.uint8, offset=tile.offset)[3 : 4 * width * height : 4]
    if not fourth.size or fourth.min() == fourth.max():
        return []
    return ["expected 3 bytes a pixel that count, got a BMP of 4, the last (alpha?) not read"]


def _levels(picture: ImageFile.ImageFile) -> tuple[int, ...] | None:
    """The largest value of each channel where it is below 255; raises where it is above."""
    for tile in picture.tile:
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if tile.codec_name == "dds_rgb":  # bits a pixel and the channels' masks
            levels = tuple(mask // (mask & -mask) if mask else 1 for mask in args[1])
            deep = max(levels) > 255
        else:
            levels = _SHORT.get(str(args[0]), ())
            deep = (
                tile.codec_name == "SGI16"
                or (tile.codec_name == "sgi_rle" and args[2] == 2)
                or (tile.codec_name == "bcn" and args[0] == 6)  # half floats
                or (picture.mode[0] not in "IF" and bool(_DEEP.search(str(args[0]))))
            )
        if deep and not (levels and tile.codec_name != "dds_rgb"):
            raise ValueError(f"{picture.format} of more than 8 bits, of which 8 would be read")
        if levels:
            return levels
    return None
