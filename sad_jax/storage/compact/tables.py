"""Probabilities in whole numbers: every symbol has a share of 2^14, at least one part of it.

A **residual** k = i - round(mean) of a field is drawn from the logistic distribution about the
mean, 1 / (1 + 2^(-t / h)), whose tails halve every h steps. There is a table for each
h = 2^(class / 4 - 4) steps and each eighth of a step of the mean. Symbols 0 to 62 are k + 31; 63
stands for all others.

A **shaped** number from 0 to n - 1 is drawn from a density over [0, 1], given by its distribution
at multiples of 1 / 1024: Beta(a, a) for places on the curve; for angles a peak in the middle, which
halves every so often, over an even ground.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from sad_jax.storage.compact.fixed import OCTAVE, ONE, ONE_BITS, power

SHARE_BITS = 14
SHARES = 2**SHARE_BITS
SYMBOLS, FARTHEST = 64, 31
EIGHTHS = 8
CLASSES = 21  # h of 1/16 to 2 steps; of wider ones the low bits are even
PLACE_BITS = 10
PLACES = 2**PLACE_BITS  # of a density
MOST_BITS = 7  # of a shaped number
POWERS = (0, 1, 2, 3, 5, 7, 11, 15)  # of x (1 - x): a - 1
GROUNDS = 16  # even ground of an angle's density, in 16ths
WIDTHS = 8  # half-lives of an angle's peak: half a turn times 2^(-width / 2 - 2)


@functools.cache
def residual_tables() -> tuple[np.ndarray, np.ndarray]:
    """Borders int64[rows, 65] of all symbols, and the symbol of every share, uint8[rows, 2^14].

    The row of a class and an eighth e (mean - round(mean) = (e - 4) / 8) is 8 class + e.
    """
    classes = np.arange(CLASSES)[:, None, None]
    eighths = np.arange(EIGHTHS)[None, :, None] - EIGHTHS // 2
    edges = EIGHTHS * (np.arange(SYMBOLS)[None, None] - FARTHEST) - EIGHTHS // 2 - eighths
    rate = power((16 - classes) * (OCTAVE // 4), 10)  # octaves a step, in 2^10
    halvings = abs(edges) * rate * OCTAVE >> 13
    falling = power(-np.minimum(halvings, 40 * OCTAVE), ONE_BITS)
    tail = (falling << ONE_BITS) // (ONE + falling)
    below = np.where(edges < 0, tail, ONE - tail)
    inside = below - below[..., :1]
    borders = (inside * (SHARES - SYMBOLS) >> ONE_BITS) + np.arange(SYMBOLS)
    borders = np.concatenate([borders, np.full((*borders.shape[:2], 1), SHARES)], axis=2)
    borders = borders.reshape(-1, SYMBOLS + 1)
    counts = np.diff(borders).ravel()
    symbols = np.repeat(np.tile(np.arange(SYMBOLS, dtype=np.uint8), len(borders)), counts)
    return borders, symbols.reshape(len(borders), SHARES)


@functools.cache
def beta_shape(index: int) -> np.ndarray:
    """The distribution of Beta(a, a), a - 1 = POWERS[index]."""
    places = range(1, 2 * PLACES, 2)
    return _distribution([(p * (2 * PLACES - p)) ** POWERS[index] for p in places])


@functools.cache
def peak_shape(ground: int, width: int) -> np.ndarray:
    """An angle's distribution: ``ground`` 16ths spread evenly, the rest a peak in the middle."""
    places = np.arange(1, 2 * PLACES, 2)
    rate = int(power((width + 4) * (OCTAVE // 2)))  # halvings in half a turn
    halvings = abs(places - PLACES) * rate * OCTAVE // (2 * PLACES)
    peak = power(-np.minimum(halvings, 30 * OCTAVE), ONE_BITS)
    even = int(peak.sum()) // PLACES
    return _distribution([int(p) * (GROUNDS - ground) + even * ground + 1 for p in peak])


def _distribution(density: list[int]) -> np.ndarray:
    """The sums of 1,024 densities, as shares, int64[1025] from 0 to 2^14.

    A 64th is spread evenly, so that each of up to 128 numbers has a share.
    """
    sums = list(itertools.accumulate(density, initial=0))
    whole = 64 * PLACES * sums[-1]
    mixed = [63 * PLACES * s + i * sums[-1] for i, s in enumerate(sums)]
    return np.array([share * SHARES // whole for share in mixed], np.int64)


@functools.cache
def beta_shapes(index: int) -> Shapes:
    """Row 0: even; row 1: Beta."""
    return Shapes([beta_shape(0), beta_shape(index)])


@functools.cache
def peak_shapes(width: int) -> Shapes:
    """A row for every ground."""
    return Shapes([peak_shape(ground, width) for ground in range(GROUNDS + 1)])


class Shapes:
    """Distributions by rows, and where each share lies in them."""

    def __init__(self, rows: list[np.ndarray]):
        self.borders = np.concatenate(rows)
        places = [np.repeat(np.arange(PLACES), np.diff(row)) for row in rows]
        self.places = np.concatenate(places)

    def border(self, rows: np.ndarray, index: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Where the share of the number ``index``, of 0 to below ``counts`` <= 128, begins."""
        return self.borders[rows * (PLACES + 1) + (index << PLACE_BITS) // counts]

    def number(self, rows: np.ndarray, slot: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The number whose share holds the slot: the last that begins no later."""
        place = self.places[(rows << SHARE_BITS) + slot]
        return ((place + 1) * counts - 1) >> PLACE_BITS
