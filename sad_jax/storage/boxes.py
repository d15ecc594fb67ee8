"""What Pillow does not say of AVIF, JPEG 2000 and HEIF: bits, profiles, codes of colours."""

from __future__ import annotations

import struct

import numpy as np

from sad_jax.storage.pixels import scaled

_SIZ = b"\xff\x4f\xff\x51"  # the start of a JPEG 2000 codestream
_HEAD = 2**16  # where boxes are looked for, as all writers have them at the start
_PRIMARIES, _CURVES = {1, 2, 5, 6}, {1, 2, 6, 13, 14, 15}  # sRGB's or video's, or unspecified
_SYCC = 18


def read_deep(form: str | None, data: bytes, frames: int) -> tuple[np.ndarray, int, int] | None:
    """AVIF, of which Pillow keeps 8 bits and some versions no gray, and JPEG 2000 of other than 8.

    Returns:
      Scaled values, the number of channels that are colour, and bits; None if Pillow is exact.
    """
    if form == "JPEG2000":
        return _read_jpeg2000(data)
    if form == "AVIF":
        bits = _avif_bits(data)
        if frames > 1:  # one frame of several is more than imagecodecs does without a crash
            if bits > 8:
                raise ValueError(f"an AVIF of {frames} frames of {bits} bits, of which 8 are read")
            return None
        import imagecodecs

        values = np.atleast_3d(imagecodecs.avif_decode(data))
        return scaled(values, bits), 1 if values.shape[2] < 3 else 3, bits
    return None


def icc_of(data: bytes) -> bytes | None:
    """The ICC profile of a JP2's header; of other formats Pillow has it."""
    if data[4:8] != b"jP  ":
        return None
    at = data.find(b"colr\2", 0, _HEAD)  # length, name, method 2, precedence, approximation
    if at < 4:
        return None
    (length,) = struct.unpack_from(">I", data, at - 4)
    return data[at + 7 : at - 4 + length]


def other_colors(data: bytes) -> list[str]:
    """A note where codes (nclx) say that the colours are not those of sRGB."""
    at = data.find(b"colrnclx", 0, _HEAD)
    if data[4:8] != b"ftyp" or at < 0 or len(data) < at + 12:
        return []
    primaries, curve = struct.unpack_from(">HH", data, at + 8)
    if primaries in _PRIMARIES and curve in _CURVES:
        return []
    return [f"expected sRGB, got colours of codes {primaries}, {curve} (nclx), not converted"]


def _avif_bits(data: bytes) -> int:
    at = data.find(b"av1C", 0, _HEAD)
    if at < 0 or len(data) < at + 7:
        return 8
    flags = data[at + 6]
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _read_jpeg2000(data: bytes) -> tuple[np.ndarray, int, int] | None:
    start = data.index(_SIZ)
    (count,) = struct.unpack_from(">H", data, start + 40)
    depths = set(data[start + 42 : start + 42 + 3 * count : 3])
    head = data[:start]
    if depths == {7} or b"pclr" in head:
        return None
    (depth,) = depths if len(depths) == 1 else (0x80,)
    space = head.find(b"colr\1")
    code = struct.unpack_from(">I", head, space + 7)[0] if space >= 0 else None
    if depth >= 0x80 or depth >= 16 or code == _SYCC:
        raise ValueError("JPEG 2000 of signed, mixed or YCC values of other than 8 bits")
    import imagecodecs

    bits = depth + 1
    values = np.atleast_3d(imagecodecs.jpeg2k_decode(data))
    colors = 4 if code == 12 else 1 if values.shape[2] < 3 else 3
    return scaled(values, bits), colors, bits
