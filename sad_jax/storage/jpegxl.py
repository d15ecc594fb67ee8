"""JPEG XL: values by imagecodecs; size, bits and colours from the header, which it does not tell.

The header's bits follow ISO/IEC 18181-1: numbers of four lengths (``U32``), least bits first.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sad_jax.model.room import check_size
from sad_jax.storage.pixels import Pixels, scaled

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
_GRAY, _SRGB = 1, 13


@dataclasses.dataclass
class _Header:
    width: int
    height: int
    bits: int = 8  # 0 for floats
    srgb: bool = True
    associated: bool = False
    animated: bool = False


def read_jpegxl(data: bytes, limit: int) -> Pixels:
    """Decodes the first frame, upright."""
    import imagecodecs

    header = _parse(_codestream(data))
    check_size(header.width, header.height, 4, limit)
    values = np.atleast_3d(imagecodecs.jpegxl_decode(data, index=0))
    if values.dtype.kind == "f":
        values, bits = values.astype(np.float32), 0
    else:
        bits = header.bits  # of the file, which the decoder does not spread over the type's
        values = scaled(values, bits)
    notes = []
    if header.animated:
        notes.append("expected one picture, got an animation of which the first frame is read")
    if bits and not header.srgb:
        notes.append("expected sRGB, got a JPEG XL of other colours, not converted")
    colors = 1 if values.shape[2] < 3 else 3
    return Pixels(values, colors, bits, associated=header.associated, notes=notes)


def _codestream(data: bytes) -> bytes:
    """The start of the codestream, out of its boxes if it has some."""
    at = 0
    while data[at : at + 2] != b"\xff\x0a":
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in (b"jxlc", b"jxlp"):
            return data[at + (12 if name == b"jxlp" else 8) :]
        if length < 8 or at + length > len(data):
            raise ValueError("a JPEG XL without a picture")
        at += length
    return data[at:]


class _Bits:
    def __init__(self, data: bytes):
        self.value = int.from_bytes(data[:4096], "little")
        self.left = 8 * len(data[:4096])

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError("a JPEG XL that is cut off")
        out = self.value & ((1 << count) - 1)
        self.value >>= count
        return out

    def number(self, *choices: tuple[int, int]) -> int:
        """U32: two bits choose an offset and the count of bits that follow."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)

    def code(self) -> int:
        return self.number((0, 0), (1, 0), (2, 4), (18, 6))

    def depth(self) -> int:
        """Of integers, or 0 for floats."""
        if self.take(1):
            self.number((32, 0), (16, 0), (24, 0), (1, 6))
            self.take(4)
            return 0
        return self.number((8, 0), (10, 0), (12, 0), (1, 6))

    def size(self) -> tuple[int, int]:
        small = self.take(1)

        def side() -> int:
            if small:
                return 8 * (self.take(5) + 1)
            return self.number((1, 9), (1, 13), (1, 18), (1, 30))

        height = side()
        ratio = self.take(3)
        if not ratio:
            return side(), height
        above, below = _RATIOS[ratio - 1]
        return height * above // below, height


def _parse(data: bytes) -> _Header:
    bits = _Bits(data[2:])
    header = _Header(*bits.size())
    if bits.take(1):  # everything as usual
        return header
    if bits.take(1):
        turned = bits.take(3) >= 4  # the decoder turns it upright
        if turned:
            header.width, header.height = header.height, header.width
        if bits.take(1):
            bits.size()
        if bits.take(1):
            raise ValueError("a JPEG XL with a preview, which is not read")
        header.animated = bool(bits.take(1))
        if header.animated:
            bits.number((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.number((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.number((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    header.bits = bits.depth()
    bits.take(1)
    for _ in range(bits.number((0, 0), (1, 0), (2, 4), (1, 12))):
        header.associated |= _extra(bits)
    bits.take(1)  # XYB
    header.srgb = _is_srgb(bits)
    return header


def _extra(bits: _Bits) -> bool:
    """Skips what is said of a further channel; whether it is alpha multiplied into the colours."""
    if bits.take(1):
        return False
    kind = bits.code()
    bits.depth()
    bits.number((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.number((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == 0:
        return bool(bits.take(1))
    raise ValueError("a JPEG XL with channels other than colours and alpha, which is not read")


def _is_srgb(bits: _Bits) -> bool:
    if bits.take(1):
        return True
    profile, space = bits.take(1), bits.code()
    if profile or space > _GRAY:
        return False
    white = bits.code()
    primaries = 1 if space == _GRAY else bits.code() if white != 2 else 2
    return white == 1 and primaries == 1 and not bits.take(1) and bits.code() == _SRGB
