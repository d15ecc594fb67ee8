"""The Netpbm family: PBM, PGM, PPM in text and bytes, PAM, and PFM's floats.

Read here, as Pillow keeps 8 bits of colour, has no floats in colour and no PAM.
"""

from __future__ import annotations

import re

import numpy as np

from sad_jax.model.room import check_size
from sad_jax.storage.pixels import Pixels, frames_note, scaled_by

MAGIC = re.compile(rb"P(?:[1-6][\s#]|7\n|[Ff]\s)")

_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*([^\s#]+)")
_PAM_COLORS = {"BLACKANDWHITE": 1, "GRAYSCALE": 1, "RGB": 3}


def read_netpbm(data: bytes, limit: int) -> Pixels:
    """Decodes the first picture of the file."""
    kind = data[1:2]
    if kind == b"7":
        return _read_pam(data, limit)
    bitmap, floats = kind in b"14", kind in b"Ff"
    tokens, at = _header(data, 2 if bitmap else 3)
    width, height = int(tokens[0]), int(tokens[1])
    channels = 3 if kind in b"36F" else 1
    check_size(width, height, channels, limit)
    shape = (height, width, channels)
    if floats:
        return _read_floats(data[at:], shape, float(tokens[2]))
    largest = 1 if bitmap else int(tokens[2])
    if kind in b"123":
        values, rest = _text(data[at:], shape, kind == b"1"), b""
    elif kind == b"4":
        row = -(-width // 8)
        packed, rest = _take(data[at:], (height, row), np.dtype(np.uint8))
        values = np.unpackbits(packed, axis=1)[:, :width, None]
    else:
        values, rest = _take(data[at:], shape, _type(largest))
    return _pixels(1 - values if bitmap else values, largest, channels, rest)


def _read_pam(data: bytes, limit: int) -> Pixels:
    head, _, body = data.partition(b"ENDHDR\n")
    lines = [line.split(None, 1) for line in head.decode("latin-1").splitlines()[1:]]
    fields = {line[0]: line[1].strip() for line in lines if len(line) == 2 and line[0] != "#"}
    width, height, depth, largest = (
        int(fields[name]) for name in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL")
    )
    check_size(width, height, depth, limit)
    values, rest = _take(body, (height, width, depth), _type(largest))
    colors = _PAM_COLORS.get(fields.get("TUPLTYPE", "").removesuffix("_ALPHA"), 0)
    return _pixels(values, largest, min(colors, depth), rest)


def _pixels(values: np.ndarray, largest: int, colors: int, rest: bytes) -> Pixels:
    if values.size and values.max() > largest:
        raise ValueError(f"{values.max()} where {largest} is the largest value")
    more = MAGIC.match(rest) is not None
    notes = frames_note(2 if more else 1)
    bits = largest.bit_length()
    return Pixels(scaled_by(values, largest), colors=colors, bits=bits, notes=notes)


def _read_floats(body: bytes, shape: tuple[int, int, int], scale: float) -> Pixels:
    """PFM: the scale's sign is the byte order, rows go from the bottom up."""
    values, _ = _take(body, shape, np.dtype("<f4" if scale < 0 else ">f4"))
    return Pixels(values[::-1].astype(np.float32), colors=shape[2], bits=0)


def _header(data: bytes, count: int) -> tuple[list[bytes], int]:
    """So many numbers after the magic, and where the pixels start: one space after them."""
    tokens, at = [], 2
    for _ in range(count):
        match = _TOKEN.match(data, at)
        if match is None:
            raise ValueError("a header that is cut off")
        tokens.append(match[1])
        at = match.end()
    return tokens, at + 1


def _type(largest: int) -> np.dtype:
    if not 1 <= largest <= 65535:
        raise ValueError(f"{largest} as the largest value, which 1 to 65535 can be")
    return np.dtype(np.uint8 if largest < 256 else ">u2")


def _take(body: bytes, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, bytes]:
    size = int(np.prod(shape, dtype=np.int64))
    if len(body) < size * dtype.itemsize:
        raise ValueError(f"{len(body)} bytes of {size * dtype.itemsize}")
    return np.frombuffer(body, dtype, size).reshape(shape), body[size * dtype.itemsize :]


def _text(body: bytes, shape: tuple[int, int, int], digits: bool) -> np.ndarray:
    """Numbers in text; those of a bitmap need no space between them."""
    body = re.sub(rb"#[^\n\r]*", b"", body)
    words = list(b"".join(body.split()).decode()) if digits else body.split()
    size = int(np.prod(shape, dtype=np.int64))
    if len(words) < size:
        raise ValueError(f"{len(words)} numbers of {size}")
    return np.array([int(word) for word in words[:size]], np.uint32).reshape(shape)
