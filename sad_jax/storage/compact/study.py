"""What an encoder learns of a picture's numbers: the ``Model`` that predicts them well.

It chooses in floats; what it has chosen is whole numbers.
"""

from __future__ import annotations

import numpy as np

from sad_jax.storage.compact import tables
from sad_jax.storage.compact.coders import (
    BETA_LEVELS,
    MOST_SLOPE,
    WEIGHT_BITS,
    Line,
    Model,
    Split,
    angle_rows,
    first_angle,
    means_of,
    scale_class,
    width,
)
from sad_jax.storage.compact.fixed import OCTAVE
from sad_jax.storage.compact.order import Batch
from sad_jax.storage.compact.rules import PIXEL

MOST_WEIGHT = 2**13
LEAST_OFFSET = 100
_TRIED = range(60)  # classes of scales: wider residuals are rare
_SWEEPS = 8  # of reweighted least squares, towards the least sum of absolute errors
_LEAST_SHARE = 1e-4
_MOST_STUDIED = 1024  # sites


class Study:
    """A ``walk.Coder`` that writes nothing and keeps all that it is told."""

    def __init__(self, numbers: dict[str, np.ndarray]):
        self.numbers = numbers
        self.kept: dict[str, list[tuple]] = {}

    def _keep(self, name: str, batch: Batch, *told) -> np.ndarray:
        true = self.numbers[name][batch.sites]
        self.kept.setdefault(name, []).append((true, *told))
        return true

    def curve(self, batch: Batch, low, counts, inner) -> np.ndarray:
        level = np.full(len(counts), min(batch.level, BETA_LEVELS - 1))
        return self._keep("place", batch, low, counts, inner, level) - low

    def residual(self, name: str, batch: Batch, features, spread, step) -> np.ndarray:
        spread = np.zeros_like(step) if spread is None else spread
        return self._keep(name, batch, np.stack(features, axis=1), spread, step)

    def angle(self, batch: Batch, center, levels, sureness) -> np.ndarray:
        return self._keep("angle", batch, center, levels, sureness)

    def even(self, name: str, batch: Batch, counts) -> np.ndarray:
        return self.numbers[name][batch.sites]

    def model(self) -> Model:
        """The model for what was seen."""
        told = {
            name: [np.concatenate(parts) for parts in zip(*kept, strict=True)]
            for name, kept in self.kept.items()
        }
        beta = _choose_beta(*told.pop("place"))
        ground, width = _choose_peak(*told.pop("angle"))
        lines = {name: _choose_line(name, *parts) for name, parts in told.items()}
        return Model(lines, beta, ground, width)


def _choose_line(name: str, *told) -> Line:
    level, features, spread, step = _sample(told)
    value = (level * step).astype(np.float64)
    if name == "radius":
        value = OCTAVE * np.log2(value + PIXEL)
    weights = _fit_weights(features.astype(np.float64), value)
    mean, spread = means_of(name, weights, list(features.T), spread, step)
    costs = np.stack([_residual_bits(Split.of(mean, np.full_like(mean, c)), level) for c in _TRIED])
    offsets, best = np.arange(-LEAST_OFFSET, 4 * len(_TRIED)), (np.inf, 0, 0)
    wide, which = width(spread, step), np.arange(len(level))
    for slope in range(MOST_SLOPE + 1):
        scale = scale_class(offsets[:, None], slope, wide)
        bits = costs[np.minimum(scale, len(_TRIED) - 1), which].sum(1)
        best = min(best, (float(bits.min()), int(offsets[bits.argmin()]), slope))
    return Line(weights, *best[1:])


def _sample(told: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Evenly chosen sites of all that was told, few enough to try much."""
    every = -(-len(told[0]) // _MOST_STUDIED)
    return [part[::every] for part in told]


def _residual_bits(split: Split, level: np.ndarray) -> np.ndarray:
    """The bits of each residual."""
    borders, _ = tables.residual_tables()
    away = (level >> split.shift) - split.center
    far = abs(away) > tables.FARTHEST
    symbol = np.where(far, tables.SYMBOLS - 1, away + tables.FARTHEST)
    share = borders[split.rows, symbol + 1] - borders[split.rows, symbol]
    escape = np.where(far, 7 + np.log2(np.maximum(abs(away), 1)), 0)
    return tables.SHARE_BITS - np.log2(share) + split.shift + escape


def _fit_weights(features: np.ndarray, value: np.ndarray) -> tuple[int, ...]:
    """Weights in 64ths of about the least sum of absolute errors."""
    weight, one = np.ones(len(value)), 2**WEIGHT_BITS
    size = np.maximum(abs(features).max(0), 1)
    scaled = features / size
    ridge = 1e-6 * np.eye(features.shape[1]) * len(value)
    found = np.zeros(features.shape[1])
    for _ in range(_SWEEPS):
        left = scaled * weight[:, None]
        found = np.linalg.solve(left.T @ scaled + ridge * weight.mean(), left.T @ value)
        error = abs(value - scaled @ found)
        weight = 1 / (error + 0.3 * np.mean(error) + 1e-9)
    rounded = np.rint(found / size * one)
    return tuple(int(w) for w in np.clip(rounded, -MOST_WEIGHT, MOST_WEIGHT))


def _choose_beta(true, low, counts, inner, level) -> tuple[int, ...]:
    chosen = []
    for i in range(BETA_LEVELS):
        own = (level == i) & inner
        if not own.any():
            chosen.append(0)
            continue
        offset, count = _sample(((true - low)[own], counts[own]))
        shapes = map(tables.beta_shape, range(len(tables.POWERS)))
        chosen.append(int(np.argmin([_shape_bits(s, offset, count).sum() for s in shapes])))
    return tuple(chosen)


def _shape_bits(shape: np.ndarray, value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """About the bits of values of 0 to below counts."""
    at, shares = np.arange(len(shape)) / (len(shape) - 1), shape / shape[-1]
    ends = [np.interp((value + i) / count, at, shares) for i in (0, 1)]
    return -np.log2(np.maximum(ends[1] - ends[0], _LEAST_SHARE / count))


def _choose_peak(*told) -> tuple[int, int]:
    true, center, levels, sureness = _sample(told)
    value = (true - first_angle(center, levels)) % levels
    best = (np.inf, 0, 0)
    for narrow in range(tables.WIDTHS):
        shapes = [tables.peak_shape(ground, narrow) for ground in range(tables.GROUNDS + 1)]
        costs = np.stack([_shape_bits(shape, value, levels) for shape in shapes])
        for ground in range(tables.GROUNDS + 1):
            rows = angle_rows(ground, sureness)
            bits = float(np.take_along_axis(costs, rows[None], axis=0).sum())
            best = min(best, (bits, ground, narrow))
    return best[1], best[2]
