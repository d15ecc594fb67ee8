"""Colours as the format has them: of three or more channels the first three turned to brightness
and two differences, orthonormal."""

from __future__ import annotations

import numpy as np

from sad_jax.storage.compact.rules import LIGHT

_BITS = 14
_TURN = np.array(  # 2^14 times (1, 1, 1) / sqrt 3, (1, 0, -1) / sqrt 2, (1, -2, 1) / sqrt 6
    [[9459, 9459, 9459], [11585, 0, -11585], [6689, -13377, 6689]], np.int64
)


def to_planes(colors: np.ndarray) -> np.ndarray:
    """Colours float[N, C] from 0 to 1 as float[N, C] in units, about 0."""
    planes = (np.asarray(colors, np.float64) - 0.5) * LIGHT
    if planes.shape[1] >= 3:
        planes = np.concatenate([planes[:, :3] @ _TURN.T / 2**_BITS, planes[:, 3:]], axis=1)
    return planes


def from_planes(planes: np.ndarray) -> np.ndarray:
    """Colours int64[N, C] in units, 0 to LIGHT, of planes int64[N, C]."""
    colors = planes
    if planes.shape[1] >= 3:
        mixed = (planes[:, :3] @ _TURN + 2 ** (_BITS - 1)) >> _BITS
        colors = np.concatenate([mixed, planes[:, 3:]], axis=1)
    return np.clip(colors + LIGHT // 2, 0, LIGHT)
