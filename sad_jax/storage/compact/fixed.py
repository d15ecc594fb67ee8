"""Logarithms, powers and angles in whole numbers, by the tables of the format.

A logarithm is to base 2 and in units of ``1 / OCTAVE``; an angle in units of pi / ``HALF_TURN``; a
cosine in units of ``1 / ONE``. All functions take and give int64 arrays.
"""

from __future__ import annotations

import numpy as np

OCTAVE = 1024  # units of a logarithm in one octave
HALF_TURN = 2**14  # units of an angle in pi
ONE_BITS = 30
ONE = 2**ONE_BITS

# Whole parts and roundings of numbers that are nowhere near a border, so any float64 will do.
_POWERS = np.floor(ONE * 2.0 ** (np.arange(OCTAVE) / OCTAVE)).astype(np.int64)
_COSINES = np.rint(ONE * np.cos(np.pi / HALF_TURN * np.arange(HALF_TURN + 1))).astype(np.int64)
_ARC_STEPS = 1024
_ARCS = np.rint(HALF_TURN / np.pi * np.arctan(np.arange(_ARC_STEPS + 1) / _ARC_STEPS))
_ARCS = _ARCS.astype(np.int64)


def power(exponent, bits: int = 0) -> np.ndarray:
    """floor(2^(exponent / OCTAVE) * 2^bits), from the table of one octave; at most 2^61."""
    exponent = np.asarray(exponent, np.int64)
    mantissa = _POWERS[exponent & (OCTAVE - 1)]
    shift = np.clip((exponent >> 10) + bits - ONE_BITS, -62, 31)
    return np.where(shift >= 0, mantissa << np.maximum(shift, 0), mantissa >> np.maximum(-shift, 0))


def logarithm(value) -> np.ndarray:
    """The largest unit whose power is at most the value, for 1 <= value < 2^61."""
    value = np.asarray(value, np.int64)
    length = bit_length(value)
    shift = length - 1 - ONE_BITS
    mantissa = np.where(shift >= 0, value >> np.maximum(shift, 0), value << np.maximum(-shift, 0))
    return (length - 1) * OCTAVE + np.searchsorted(_POWERS, mantissa, side="right") - 1


def bit_length(value) -> np.ndarray:
    """Bits of whole numbers from 0 to below 2^62."""
    value = np.asarray(value, np.int64)
    high = value >> 31
    upper = np.frexp(high.astype(np.float64))[1] + 31  # exact: below 2^53
    lower = np.frexp((value & (2**31 - 1)).astype(np.float64))[1]
    return np.where(high > 0, upper, lower).astype(np.int64)


def cosine(angle) -> np.ndarray:
    """cos(pi angle / HALF_TURN) * ONE for angles of any turn."""
    angle = np.abs(np.asarray(angle, np.int64)) & (2 * HALF_TURN - 1)
    return _COSINES[np.minimum(angle, 2 * HALF_TURN - angle)]


def sine(angle) -> np.ndarray:
    """sin(pi angle / HALF_TURN) * ONE."""
    return cosine(np.asarray(angle, np.int64) - HALF_TURN // 2)


def angle_of(x, y) -> np.ndarray:
    """The angle of vectors (x, y) of magnitudes below 2^50, 0 to 2 HALF_TURN; 0 for none."""
    x, y = np.asarray(x, np.int64), np.asarray(y, np.int64)
    along, across = np.abs(x), np.abs(y)
    steep = across > along
    least, most = np.where(steep, along, across), np.where(steep, across, along)
    arc = _ARCS[(least * _ARC_STEPS) // np.maximum(most, 1)]
    arc = np.where(steep, HALF_TURN // 2 - arc, arc)
    arc = np.where(x < 0, HALF_TURN - arc, arc)
    return np.where(y < 0, 2 * HALF_TURN - arc, arc) & (2 * HALF_TURN - 1)
