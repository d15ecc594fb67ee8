"""Colours of a file as sRGB: ICC profiles, CMYK, CIE Lab.

A profile of three curves and a matrix, or of one curve for gray, is computed here in floats, as
Pillow's ImageCms has 8 bits only; it does the profiles that are tables.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

_TO_D50 = np.array(  # linear sRGB to XYZ as profiles have it, adapted to D50
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_FROM_D50 = np.linalg.inv(_TO_D50)
_WHITE = np.array([0.9642, 1.0, 0.8249])  # D50
_SPACES = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_SAME = 1.0 / 255  # a profile that moves no colour by more is sRGB
Curve = Callable[[np.ndarray], np.ndarray]
_BLOCK = 2**20  # pixels at a time, as they are float64 on the way


def to_srgb(colors: np.ndarray, profile: bytes | None, bits: int) -> tuple[np.ndarray, list[str]]:
    """Colours of a file as sRGB, clipped to [0, 1] where a profile moves them.

    Args:
      colors: float32[H, W, C], C is 1 for gray, 3 for RGB, 4 for CMYK.
      profile: the file's ICC profile.
      bits: of the file's integers, 0 for floats.

    Returns:
      float32[H, W, 1] for gray, else float32[H, W, 3]; and notes on what was not done.
    """
    if profile is None:
        return _without_profile(colors), []
    try:
        return _apply(colors, profile, bits)
    except (struct.error, ValueError, KeyError, IndexError, OSError, ImageCms.PyCMSError):
        return _without_profile(colors), ["expected an ICC profile, got a broken one, not applied"]


def from_lab(lab: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of D50, [H, W, 3] with L* in [0, 100], as sRGB float32[H, W, 3]."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * _WHITE
    return _encode(xyz @ _FROM_D50.T)


def _without_profile(colors: np.ndarray) -> np.ndarray:
    if colors.shape[2] == 4:
        return (1 - colors[..., :3]) * (1 - colors[..., 3:])
    return colors


def _apply(colors: np.ndarray, profile: bytes, bits: int) -> tuple[np.ndarray, list[str]]:
    if bits == 0:
        return colors, ["expected floats without an ICC profile, got one, not applied"]
    channels = colors.shape[2]
    space = _SPACES.get(profile[16:20])
    tags = _tags(profile)
    convert = _by_curves(profile, tags, space)
    same = convert is not None and _is_identity(convert, 3 if space == 3 else 1)
    if space != channels:
        if channels == 1 and same:  # gray within sRGB
            return colors, []
        kind = profile[16:20].decode("latin-1").strip()
        note = f"expected an ICC profile of {channels} channels, got one of {kind!r}, not applied"
        return _without_profile(colors), [note]
    if convert is not None and (b"A2B0" not in tags or bits > 8):
        return (colors if same else _in_blocks(convert, colors)), []
    if space == 3 and b"sRGB" in _name(profile, tags):
        return colors, []
    if bits > 8:
        note = f"expected an ICC profile of curves, got one of tables with {bits} bits, not applied"
        return _without_profile(colors), [note]
    return _by_tables(colors, profile), []


def _is_identity(convert: Curve, channels: int) -> bool:
    steps = np.linspace(0, 1, 12 if channels == 3 else 256)
    probe = np.stack(np.meshgrid(*[steps] * channels), axis=-1).reshape(-1, channels)
    return bool(np.abs(convert(probe) - probe).max() <= _SAME)


def _in_blocks(convert: Curve, colors: np.ndarray) -> np.ndarray:
    flat = colors.reshape(-1, colors.shape[2])
    out = np.empty_like(flat)
    for i in range(0, len(flat), _BLOCK):
        out[i : i + _BLOCK] = convert(flat[i : i + _BLOCK])
    return out.reshape(colors.shape)


def _by_tables(colors: np.ndarray, profile: bytes) -> np.ndarray:
    """By Pillow's ImageCms, in 8 bits, with the intent that the profile names."""
    channels = colors.shape[2]
    levels = np.rint(colors * 255).astype(np.uint8)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    size = (colors.shape[1], colors.shape[0])
    picture = Image.frombytes(mode, size, levels.tobytes())
    source = ImageCms.getOpenProfile(io.BytesIO(profile))
    intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
    target = ImageCms.createProfile("sRGB")
    done = ImageCms.profileToProfile(picture, source, target, intent, outputMode="RGB")
    assert done is not None  # not in place
    rgb = np.asarray(done) / np.float32(255)
    return rgb[..., 1:2] if channels == 1 else rgb


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """A profile's entries by their names; raises where it is cut off."""
    if profile[36:40] != b"acsp" or len(profile) < struct.unpack_from(">I", profile)[0]:
        raise ValueError("no whole profile")
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for i in range(min(count, 100)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        tags[name] = profile[offset : offset + size]
    return tags


def _name(profile: bytes, tags: dict[bytes, bytes]) -> bytes:
    return tags.get(b"desc", b"").replace(b"\0", b"")  # UTF-16 of ASCII loses its zeros


def _by_curves(profile: bytes, tags: dict[bytes, bytes], space: int | None) -> Curve | None:
    """What a profile of curves does to float[N, C]; None if it is one of tables."""
    if profile[20:24] != b"XYZ ":
        return None
    if space == 1 and b"kTRC" in tags:
        gray = _curve(tags[b"kTRC"])
        return lambda values: _encode(gray(values))
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
    if space != 3 or not all(name in tags for name in names):
        return None
    columns = [np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536 for name in names[:3]]
    matrix = (_FROM_D50 @ np.stack(columns, axis=1)).T
    curves = [_curve(tags[name]) for name in names[3:]]

    def convert(values: np.ndarray) -> np.ndarray:
        linear = np.stack([curves[i](values[:, i]) for i in range(3)], axis=1)
        return _encode(linear @ matrix)

    return convert


def _curve(tag: bytes) -> Curve:
    """A tone curve: a table, a power, or one of the five formulas of the standard."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x
        table = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count == 1:
            power = table[0] / 256
            return lambda x: np.clip(x, 0, None) ** power
        return lambda x: np.interp(x, np.linspace(0, 1, count), table / 65535)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    given = [number / 65536 for number in struct.unpack_from(f">{count}i", tag, 12)]
    g, a, b, c, d, e, f = given + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0][count - 1 :]
    if kind in (1, 2):  # (a x + b)^g + c above -b / a, c below
        e = f = c
        c, d = 0.0, -b / a

    def formula(x: np.ndarray) -> np.ndarray:
        return np.where(x >= d, np.clip(a * x + b, 0, None) ** g + e, c * x + f)

    return formula


def _encode(linear: np.ndarray) -> np.ndarray:
    """Linear light as sRGB, clipped."""
    linear = np.clip(linear, 0, 1)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved).astype(np.float32)
