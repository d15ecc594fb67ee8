"""Hilbert's curve over a square of 2^order cells a side, both ways."""

from __future__ import annotations

import numpy as np


def to_curve(x: np.ndarray, y: np.ndarray, order: int) -> np.ndarray:
    """Places on the curve, int64 from 0 to below 4^order, of cells (x, y)."""
    x, y = np.asarray(x, np.int64), np.asarray(y, np.int64)
    place = np.zeros_like(x)
    for bit in reversed(range(order)):
        right, down = (x >> bit) & 1, (y >> bit) & 1
        place = (place << 2) | ((3 * right) ^ down)
        rest = (1 << bit) - 1
        x, y = x & rest, y & rest
        turned = (down == 0) & (right == 1)
        x, y = np.where(turned, rest - x, x), np.where(turned, rest - y, y)
        x, y = np.where(down == 0, y, x), np.where(down == 0, x, y)
    return place


def from_curve(place: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells (x, y) of places on the curve."""
    place = np.asarray(place, np.int64)
    x, y = np.zeros_like(place), np.zeros_like(place)
    for bit in range(order):
        quarter = (place >> (2 * bit)) & 3
        right = quarter >> 1
        down = (quarter & 1) ^ right
        rest = (1 << bit) - 1
        x, y = np.where(down == 0, y, x), np.where(down == 0, x, y)
        turned = (down == 0) & (right == 1)
        x, y = np.where(turned, rest - x, x), np.where(turned, rest - y, y)
        x, y = x | (right << bit), y | (down << bit)
    return x, y
