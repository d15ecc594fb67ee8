"""How the fields of a site are rounded: steps from fields that are decoded already, and values.

A site's fields come in the order log2 tau, anisotropy, angle, place in its cell, radius, colours.
The step of each is a whole number that follows from those before it (k = tau / S is the slope of a
border in 1 / pixels): a soft site may be rounded more coarsely than a sharp one. Units: logarithms
and angles as in ``fixed``, lengths 1 / ``PIXEL`` pixels, colours 1 / ``LIGHT`` of the range.

Every rule is written once. ``nearest_*`` choose whole numbers for given values, for an encoder.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sad_jax.storage.compact.fixed import (
    HALF_TURN,
    OCTAVE,
    ONE_BITS,
    cosine,
    logarithm,
    power,
    sine,
)

PIXEL_BITS = 8
PIXEL = 2**PIXEL_BITS  # units of a length in one pixel
LIGHT_BITS = 16
LIGHT = 2**LIGHT_BITS  # units of a colour from 0 to 1
CODE = OCTAVE // 16  # a step's code is its logarithm in sixteenths of an octave
MOST_LEVELS = 256  # of a place along one side of a cell
MOST_ANGLES = 4096
WIDEST = 8 * OCTAVE  # anisotropy as the rules see it, at most
SOFTEST = 32 * PIXEL  # radius as the rules see it, at most


@dataclasses.dataclass(frozen=True)
class Steps:
    """The codes of the base steps, in sixteenths of an octave.

    ``tau``, ``aniso``: of the logarithms themselves; ``angle``: of the levels in half a turn, at
    k = 1 and sinh a = 1; ``place``, ``radius``: in units of a length, at k = 1; ``color``: in units
    of a colour, at a radius of one pixel.
    """

    tau: int
    aniso: int
    angle: int
    place: int
    radius: int
    color: int


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules of a picture.

    ``steps``: base steps; ``size``: S in pixels; ``cell_bits``: log2 of the side of a cell, and
    ``least_radius``, both in units of a length.
    """

    steps: Steps
    size: int
    cell_bits: int
    least_radius: int = PIXEL

    @property
    def tau_step(self) -> int:
        return max(1, int(power(CODE * self.steps.tau)))

    @property
    def aniso_step(self) -> int:
        return max(1, int(power(CODE * self.steps.aniso)))

    def slope(self, tau: np.ndarray) -> np.ndarray:
        """log2 k of log2 tau."""
        return tau - logarithm(self.size)

    def angles(self, tau: np.ndarray, aniso: np.ndarray) -> np.ndarray:
        """Levels in half a turn: pi / step ~ k^(1/5) sinh a; 1 for a round site."""
        wide = np.minimum(aniso, WIDEST)
        sinh = (power(wide, 20) - power(-wide, 20)) >> 1
        exponent = CODE * self.steps.angle + self.slope(tau) // 5
        exponent = exponent + logarithm(np.maximum(sinh, 1)) - 20 * OCTAVE
        levels = np.clip(power(np.clip(exponent, 0, 20 * OCTAVE)) + 1, 1, MOST_ANGLES)
        return np.where(aniso <= 0, 1, levels)

    def places(
        self, tau: np.ndarray, aniso: np.ndarray, angle: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levels of x and of y in a cell, and whether x is the finer axis.

        The metric along x is m_x = e^a cos^2 + e^-a sin^2, and m_y likewise. With m the larger of
        the two, the finer axis has the step k^(-1/2) m^(-1/2), the other k^(-1/2) m^(1/2).
        """
        wide = np.minimum(aniso, WIDEST)
        long, short = power(wide, 20), power(-wide, 20)
        cos2, sin2 = (f(angle) ** 2 >> ONE_BITS for f in (cosine, sine))
        along = (long * cos2 + short * sin2) >> ONE_BITS
        across = (long * sin2 + short * cos2) >> ONE_BITS
        fine_x = along >= across
        metric = logarithm(np.maximum(np.maximum(along, across), 1)) - 20 * OCTAVE
        base = CODE * self.steps.place - self.slope(tau) // 2
        levels = []
        for sign in (-1, 1):
            ratio = OCTAVE * self.cell_bits - (base + sign * (metric // 2))
            count = (power(np.clip(ratio, -8 * OCTAVE, 20 * OCTAVE), 8) + 205) >> 8  # rounds at 0.2
            levels.append(np.clip(count, 1, min(MOST_LEVELS, 1 << self.cell_bits)))
        fine, coarse = levels
        return np.where(fine_x, fine, coarse), np.where(fine_x, coarse, fine), fine_x

    def radius_step(self, tau: np.ndarray) -> np.ndarray:
        """~ k^(-1/2)."""
        exponent = CODE * self.steps.radius - self.slope(tau) // 2
        return np.maximum(power(np.clip(exponent, 0, 20 * OCTAVE)), 1)

    def color_step(self, radius: np.ndarray) -> np.ndarray:
        """~ r^(-4/5)."""
        soft = logarithm(np.clip(radius, PIXEL, SOFTEST)) - PIXEL_BITS * OCTAVE
        exponent = CODE * self.steps.color - 4 * soft // 5
        return np.maximum(power(np.clip(exponent, 0, 20 * OCTAVE)), 1)

    def position(self, cell: np.ndarray, place: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The middle of a place in a cell; cells begin at the picture's edge, at -1/2."""
        within = ((2 * place + 1) << self.cell_bits) // (2 * levels)
        return (cell << self.cell_bits) + within - PIXEL // 2

    def nearest_place(
        self, position: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The cell and the place in it of positions float[N] in pixels."""
        scaled = (np.asarray(position, np.float64) + 0.5) * (PIXEL / 2**self.cell_bits)
        cell = np.floor(scaled)
        place = np.clip(np.floor((scaled - cell) * levels), 0, levels - 1)
        return cell.astype(np.int64), place.astype(np.int64)


def angle_of_level(level: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return level * HALF_TURN // levels


def nearest_level(angle: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The level of angles float[N] in radians."""
    turns = np.asarray(angle, np.float64) / np.pi
    return np.rint(turns * levels).astype(np.int64) % levels


def nearest(value: np.ndarray, step: np.ndarray | int) -> np.ndarray:
    """The nearest multiples of steps, as counts of them."""
    return np.rint(np.asarray(value, np.float64) / step).astype(np.int64)
