"""PNG with all its bits: 1 to 16 of them, palettes and tRNS as alpha, interlaced or not."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import PngImagePlugin

from sad_jax.model.room import check_size
from sad_jax.storage.pixels import Pixels, frames_note, scaled

MAGIC = b"\x89PNG\r\n\x1a\n"

_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # for the samples
_EXIF = re.compile(  # by the chunk's name and the start of its body
    rb"....(?:eXIf|[zi]TXtRaw profile type |tEXtRaw profile type |iTXtXML:com.adobe.xmp\0)",
    re.DOTALL,
)
_USED = (*_NEEDED, b"tRNS", b"iCCP", b"cICP", b"gAMA", b"cHRM", b"eXIf")
_GRAY, _COLOR, _PALETTE, _ALPHA = 0, 2, 3, 4  # kinds of pixels; colour and alpha are bits

_SRGB_GAMMA = 45455  # 1 / 2.2, which sRGB files carry
_SRGB_POINTS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # white, red, green, blue
_SRGB_CODES = {(1, 1), (1, 6), (1, 13)}  # cICP: primaries of sRGB, curves of video or sRGB
_LARGEST_PROFILE = 2**24


def read_png(data: bytes, limit: int) -> Pixels:
    """Decodes the picture itself, of an animation the default one."""
    whole = list(_chunks(data))
    names = [name for name, _ in whole]
    chunks = dict(reversed([(name, chunk[8:-4]) for name, chunk in whole]))  # the first of a name
    header = chunks.get(b"IHDR", b"")
    if len(header) != 13:
        raise ValueError("a PNG without its header")
    width, height, bits, kind = struct.unpack(">IIBB", header[:10])
    check_size(width, height, 4, limit)
    needed = b"".join(chunk for name, chunk in whole if name in _NEEDED)
    samples = _samples(MAGIC + needed, bits, kind)
    values = _with_alpha(samples, bits, kind, chunks)
    profile, notes = _profile(chunks)
    return Pixels(
        values,
        colors=3 if kind & _COLOR else 1,
        bits=max(bits, 8),
        profile=profile,
        orientation=_orientation([chunk for _, chunk in whole if _EXIF.match(chunk)]),
        notes=_frames(names) + notes,
    )


def _samples(data: bytes, bits: int, kind: int) -> np.ndarray:
    """The numbers as they are in the file, [H, W, C]; Pillow spreads 2 and 4 bits of gray over 8.

    Of 16-bit colour Pillow, and imageio through it, keeps the high bytes; a second reading gets the
    low ones. Gray with alpha of 16 bits is read as four bytes a pixel.
    """
    if bits < 16 or kind == _GRAY:
        return np.atleast_3d(_decode(data))
    if kind == _ALPHA:
        return _decode(data, "RGBA").view(">u2")
    mode = "RGBA" if kind & _ALPHA else "RGB"
    high, low = (_decode(data, f"{mode};16{end}") for end in "BL")
    return high.astype(np.uint16) << 8 | low


def _decode(data: bytes, raw_mode: str | None = None) -> np.ndarray:
    with PngImagePlugin.PngImageFile(io.BytesIO(data)) as picture:
        if raw_mode is not None:
            picture.tile = [tile._replace(args=raw_mode) for tile in picture.tile]
        return np.asarray(picture)


def _with_alpha(
    samples: np.ndarray, bits: int, kind: int, chunks: dict[bytes, bytes]
) -> np.ndarray:
    """Scaled values; tRNS is the alpha of a palette's colours, or the one colour without it."""
    key = chunks.get(b"tRNS")
    if kind == _PALETTE:
        colors = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8).reshape(-1, 3)
        if samples.max() >= len(colors):
            raise ValueError(f"colour {samples.max()} of a palette of {len(colors)}")
        if key is not None:
            alpha = np.frombuffer(key[: len(colors)].ljust(len(colors), b"\xff"), np.uint8)
            colors = np.concatenate([colors, alpha[:, None]], axis=1)
        return scaled(colors, 8)[samples[..., 0]]
    values = scaled(samples, 1 if bits == 1 else max(bits, 8))
    if key is None or kind & _ALPHA:
        return values
    wanted = np.array(struct.unpack(">3H" if kind & _COLOR else ">H", key)) & (2**bits - 1)
    if bits < 8:
        wanted = wanted * ((1 if bits == 1 else 255) // (2**bits - 1))
    opaque = (samples != wanted).any(axis=2, keepdims=True)
    return np.concatenate([values, opaque.astype(np.float32)], axis=2)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All chunks in their order, each with its length, name and checksum around its body."""
    at = len(MAGIC)
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8].ljust(8, b"\xff"))
        if at + 12 + length > len(data):
            raise ValueError("a truncated PNG")
        chunk = data[at : at + 12 + length]
        if name in _USED and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError(f"a PNG with a broken {name.decode()}")
        yield name, chunk
        at += 12 + length
        if name == b"IEND":
            return


def _frames(names: list[bytes]) -> list[str]:
    """Frames as they are, whatever acTL says; the default picture need not be one of them."""
    apart = b"fcTL" not in names[: names.index(b"IDAT")]
    return frames_note(names.count(b"fcTL") + apart if b"acTL" in names else 1)


def _profile(chunks: dict[bytes, bytes]) -> tuple[bytes | None, list[str]]:
    """The ICC profile, and what else is said of the colours unless it is sRGB."""
    if len(code := chunks.get(b"cICP", b"")) == 4:
        said = [] if (code[0], code[1]) in _SRGB_CODES else [f"cICP {code[0]}, {code[1]}"]
    elif b"iCCP" in chunks:
        _, _, packed = chunks[b"iCCP"].partition(b"\0")
        try:
            return zlib.decompressobj().decompress(packed[1:], _LARGEST_PROFILE), []
        except zlib.error:
            return b"", []  # told as broken
    elif b"sRGB" in chunks:
        said = []
    else:
        said = _gamma(chunks.get(b"gAMA", b"")) + _points(chunks.get(b"cHRM", b""))
    return None, [f"expected sRGB, got {what}, not applied" for what in said]


def _gamma(body: bytes) -> list[str]:
    gamma = struct.unpack(">I", body)[0] if len(body) == 4 else _SRGB_GAMMA
    return [] if abs(gamma - _SRGB_GAMMA) <= 1000 else [f"a gamma of {gamma / 1e5:g}"]


def _points(body: bytes) -> list[str]:
    points = struct.unpack(">8I", body) if len(body) == 32 else _SRGB_POINTS
    near = all(abs(a - b) <= 500 for a, b in zip(points, _SRGB_POINTS, strict=True))
    return [] if near else ["other primaries (cHRM)"]


def _orientation(texts: list[bytes]) -> int:
    """Pillow finds EXIF in a chunk of its own, in text and in XMP: here in a picture of a pixel."""
    if not texts:
        return 1
    header = _chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
    data = b"".join([MAGIC, header, *texts, _chunk(b"IDAT", zlib.compress(b"\0\0"))])
    with PngImagePlugin.PngImageFile(io.BytesIO(data)) as picture:
        return picture.getexif().get(0x0112, 1)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))
