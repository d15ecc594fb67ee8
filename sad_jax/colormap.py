"""Numbers as colours."""

from __future__ import annotations

import functools

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

# Viridis as a polynomial of degree 6, lowest power first (fit by Matt Zucker, public domain).
_VIRIDIS = (
    (0.2777273272234177, 0.005407344544966578, 0.3340998053353061),
    (0.1050930431085774, 1.404613529898575, 1.384590162594685),
    (-0.3308618287255563, 0.214847559468213, 0.09509516302823659),
    (-4.634230498983486, -5.799100973351585, -19.33244095627987),
    (6.228269936347081, 14.17993336680509, 56.69055260068105),
    (4.776384997670288, -13.74514537774601, -65.35303263337234),
    (-5.435455855934631, 4.645852612178535, 26.3124352495832),
)


def viridis(values: Float[ArrayLike, "*B"]) -> Float[np.ndarray, "*B 3"]:
    """The colours of a perceptually uniform map.

    Args:
      values: float[...], clipped to [0, 1]; 0 is dark blue, 1 is yellow.

    Returns:
      float32[..., 3] in [0, 1].
    """
    index = np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
    return viridis_table()[index]


@functools.cache
def viridis_table() -> np.ndarray:
    """float32[256, 3], the colours of 0 to 1 in equal steps."""
    powers = np.linspace(0.0, 1.0, 256)[:, None] ** np.arange(7)
    return np.clip(powers @ np.asarray(_VIRIDIS), 0.0, 1.0).astype(np.float32)
