"""What the readers of all formats hand over, and what is done to it in the end."""

from __future__ import annotations

import dataclasses

import numpy as np

from sad_jax.model.picture import scaled_by
from sad_jax.storage.color import to_srgb

_TURNS = {  # EXIF orientation: (transposed, upside down, mirrored), in this order
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclasses.dataclass
class Pixels:
    """Values as the file has them, scaled, and what it says about their meaning.

    Attributes:
      values: float32[H, W, C]; integers are divided by the largest number of their bits.
      colors: how many of the channels are colour: 1 gray, 3 RGB, 4 CMYK; 0 if they mean nothing.
      bits: of an integer; 0 for floats.
      profile: the ICC profile of the colours.
      orientation: EXIF's, 1 for upright.
      associated: whether the colours are multiplied by the channel after them.
      notes: what is in the file and not in the values, in the words "expected ..., got ...".
    """

    values: np.ndarray
    colors: int
    bits: int = 8
    profile: bytes | None = None
    orientation: int = 1
    associated: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)


def scaled(values: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned integers of so many bits as float32 in [0, 1]; rounded once."""
    return scaled_by(values, 2**bits - 1)


def frames_note(count: int, read: str = "the first") -> list[str]:
    """What is said of a file of several pictures."""
    return [f"expected one picture, got {count} of which {read} is read"] if count > 1 else []


def finish(pixels: Pixels) -> tuple[np.ndarray, list[str]]:
    """Straight alpha, sRGB, upright: float32[H, W, C], and what could not be done."""
    values, notes = pixels.values, list(pixels.notes)
    colors, rest = values[..., : pixels.colors], values[..., pixels.colors :]
    if pixels.associated:
        alpha = rest[..., :1]
        straight = np.divide(colors, alpha, out=np.zeros_like(colors), where=alpha > 0)
        colors = np.minimum(straight, 1) if pixels.bits else straight
    if pixels.colors:
        colors, said = to_srgb(colors, pixels.profile, pixels.bits)
        values = np.concatenate([colors, rest], axis=2) if rest.shape[2] else colors
        notes += said
    return _upright(values, pixels.orientation), notes


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    transposed, upside_down, mirrored = _TURNS.get(orientation, (False, False, False))
    if transposed:
        values = values.swapaxes(0, 1)
    return np.ascontiguousarray(values[:: -1 if upside_down else 1, :: -1 if mirrored else 1])
