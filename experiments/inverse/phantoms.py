"""Pictures whose formula is known: Shepp and Logan's phantom, and random ellipses."""

from __future__ import annotations

import numpy as np
from skimage.data import shepp_logan_phantom
from skimage.transform import resize


def shepp_logan(side: int, _: int) -> np.ndarray:
    """float[side, side]; the same for all seeds."""
    return resize(shepp_logan_phantom(), (side, side), anti_aliasing=True)


def ellipses(side: int, seed: int) -> np.ndarray:
    """float[side, side]: 20 random ellipses within a disc, half of them with soft edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / (side / 2) - 1
    picture = 0.3 * (np.hypot(x, y) < 0.9)
    for i in range(20):
        (u, v), angle = rng.uniform(-0.5, 0.5, 2), rng.uniform(0, np.pi)
        a, b, value = *rng.uniform(0.05, 0.3, 2), rng.uniform(-0.15, 0.25)
        p = ((x - u) * np.cos(angle) + (y - v) * np.sin(angle)) / a
        q = ((y - v) * np.cos(angle) - (x - u) * np.sin(angle)) / b
        edge = 2.0 if i % 2 else 30.0
        picture += value / (1 + np.exp(np.clip(edge * (np.hypot(p, q) - 1), -30, 30)))
    return np.clip(picture, 0, 1)


PHANTOMS = {"shepp_logan": shepp_logan, "ellipses": ellipses}
