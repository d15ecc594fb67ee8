"""Numbers and symbols: how a prediction becomes shares of a lane, for both directions at once.

The engine is a ``Reader`` or a ``Writer`` of ``rans``. With a writer the true numbers are known and
given along; with a reader they are None and what it reads is returned.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sad_jax.storage.compact import tables
from sad_jax.storage.compact.fixed import OCTAVE, bit_length, logarithm, power
from sad_jax.storage.compact.order import Batch
from sad_jax.storage.compact.rans import Reader, Turns, Writer
from sad_jax.storage.compact.rules import HALF_TURN, PIXEL
from sad_jax.storage.compact.tables import EIGHTHS, FARTHEST

WEIGHT_BITS = 6
BETA_LEVELS = 4  # shapes of levels 0, 1, 2, and of those above
CHUNK = 10  # bits that are coded evenly at once
LONGEST = 30  # bits of an escaped residual, and of a shift, at most
FARTHEST_MEAN = 2**36
MOST_SLOPE = 4
MOST_SURE = 85197  # 1.3 in units of 2^-16


@dataclasses.dataclass(frozen=True)
class Line:
    """How a field is predicted: weights of its features in 64ths, and the scale of what is left.

    The class of the scale is offset / 4 + slope / 4 times the ``width`` of the spread, in octaves.
    """

    weights: tuple[int, ...]
    offset: int
    slope: int


@dataclasses.dataclass(frozen=True)
class Model:
    """What a picture's head says of its statistics.

    ``lines``: of the fields that are residuals; ``beta``: indices of shapes for places on the curve
    by level; ``ground, width``: of the angles' shapes.
    """

    lines: dict[str, Line]
    beta: tuple[int, ...]
    ground: int
    width: int


@dataclasses.dataclass(frozen=True)
class Split:
    """How counts of steps stand in the tables of residuals.

    ``shift``: low bits that are coded evenly; ``center``: the nearest whole number to the mean of
    what is above; ``rows``: of the tables.
    """

    center: np.ndarray
    rows: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, scale: np.ndarray) -> Split:
        """Of means in eighths of a step, and classes of scales."""
        shift = (np.maximum(scale - (tables.CLASSES - 1), 0) + 3) // 4
        mean = (mean - 4 * ((1 << shift) - 1)) >> shift
        center = (mean + EIGHTHS // 2) >> 3
        eighth = mean - EIGHTHS * center + EIGHTHS // 2
        return cls(center, EIGHTHS * (scale - 4 * shift) + eighth, shift)


def means_of(
    name: str, weights: tuple[int, ...], features: list[np.ndarray], spread: np.ndarray, step
) -> tuple[np.ndarray, np.ndarray]:
    """Means in eighths of a step, and spreads: the weighted sum of features, rounded down.

    A radius is predicted by its logarithm, and its spread is what is predicted.
    """
    terms = zip(weights, features, strict=True)
    value = np.asarray(sum(weight * feature for weight, feature in terms)) >> WEIGHT_BITS
    if name == "radius":
        spread = power(np.clip(value, 0, LONGEST * OCTAVE))
        value = spread - PIXEL
    return EIGHTHS * np.clip(value, -FARTHEST_MEAN, FARTHEST_MEAN) // step, spread


def width(spread: np.ndarray, step: np.ndarray) -> np.ndarray:
    """log2(spread in eighths of a step + 3)."""
    return logarithm(np.minimum(EIGHTHS * spread // step, 2**LONGEST) + 3)


def scale_class(offset, slope: int, wide: np.ndarray) -> np.ndarray:
    """The class of a line's scale, for widths."""
    return np.clip((256 * offset + slope * wide) >> 10, 0, 4 * LONGEST)


def angle_rows(ground: int, sureness: np.ndarray) -> np.ndarray:
    """The even ground of each site's angle: the surer the neighbours, the less."""
    sure = np.minimum(2 * sureness, MOST_SURE) >> 6
    return np.maximum(tables.GROUNDS - ((tables.GROUNDS - ground) * sure >> 10), 1)


def first_angle(center: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The level that lies half a turn of levels before the one next to the angle ``center``."""
    return (center * levels + HALF_TURN // 2) // HALF_TURN - levels // 2


class Coding:
    """A ``walk.Coder`` that reads or writes by a model."""

    def __init__(self, engine: Reader | Writer, model: Model, numbers=None):
        self.engine, self.model, self.numbers = engine, model, numbers

    def _true(self, name: str, batch: Batch) -> np.ndarray | None:
        return None if self.numbers is None else self.numbers[name][batch.sites]

    def curve(self, batch: Batch, low, counts, inner) -> np.ndarray:
        true = self._true("place", batch)
        shape = self.model.beta[min(batch.level, BETA_LEVELS - 1)]
        shapes, value = tables.beta_shapes(shape), None if true is None else true - low
        return self._wide(shapes, inner.astype(np.int64), counts, batch.turns, value)

    def angle(self, batch: Batch, center, levels, sureness) -> np.ndarray:
        true = self._true("angle", batch)
        shapes = tables.peak_shapes(self.model.width)
        first = first_angle(center, levels)
        value = None if true is None else (true - first) % levels
        rows = angle_rows(self.model.ground, sureness)
        return (self._wide(shapes, rows, levels, batch.turns, value) + first) % levels

    def even(self, name: str, batch: Batch, counts) -> np.ndarray:
        return self.engine.uniform(counts, batch.turns, self._true(name, batch))

    def residual(self, name: str, batch: Batch, features, spread, step) -> np.ndarray:
        line = self.model.lines[name]
        mean, spread = means_of(name, line.weights, features, spread, step)
        scale = scale_class(line.offset, line.slope, width(spread, step))
        split = Split.of(mean, scale)
        true, turns = self._true(name, batch), batch.turns
        away = symbols = low = None
        if true is not None:
            away = (true >> split.shift) - split.center
            symbols = np.where(abs(away) <= FARTHEST, away + FARTHEST, tables.SYMBOLS - 1)
            low = true & ((1 << split.shift) - 1)
        symbols = self.engine.residuals(split.rows, turns, symbols)
        away = self._escaped(symbols, turns, away)
        low = self._bits(split.shift, turns, low)
        return ((split.center + away) << split.shift) + low

    def _escaped(self, symbols: np.ndarray, turns: Turns, away) -> np.ndarray:
        """Residuals of symbols: those too far for the tables are coded by length, sign and bits."""
        far = symbols == tables.SYMBOLS - 1
        if not far.any():
            return symbols - FARTHEST
        head = rest = None
        turns = turns.where(far)
        if away is not None:
            beyond = abs(away[far]) - FARTHEST
            length = bit_length(beyond)
            head, rest = 2 * length + (away[far] < 0), beyond - (1 << (length - 1))
        head = self.engine.uniform(np.full(len(turns), 2 * LONGEST + 2), turns, head)
        length = np.maximum(head >> 1, 1)
        beyond = (1 << (length - 1)) + self._bits(length - 1, turns, rest) + FARTHEST
        found = symbols - FARTHEST
        found[far] = np.where(head & 1, -beyond, beyond)
        return found

    def _bits(self, widths: np.ndarray, turns: Turns, values) -> np.ndarray:
        """Numbers of so many bits, evenly, ``CHUNK`` of them at a time from the low end."""
        found, done = np.zeros(len(turns), np.int64), 0
        while (some := widths > done).any():
            counts = 1 << np.minimum(widths[some] - done, CHUNK)
            part = None if values is None else (values[some] >> done) & (counts - 1)
            found[some] += self.engine.uniform(counts, turns.where(some), part) << done
            done += CHUNK
        return found

    def _wide(self, shapes, rows, counts, turns: Turns, values) -> np.ndarray:
        """Shaped numbers from 0 to below counts of any size; the low bits of many are even."""
        shift = np.maximum(bit_length(counts - 1) - tables.MOST_BITS, 0)
        high = low = None
        if values is not None:
            high, low = values >> shift, values & ((1 << shift) - 1)
        high = self.engine.shaped(shapes, rows, ((counts - 1) >> shift) + 1, turns, high)
        found = (high << shift) + self._bits(shift, turns, low)
        if (found >= counts).any():
            raise ValueError("expected numbers within their range, got a damaged file")
        return found
