"""What a site's neighbours say of it: the nearest sites of levels above its own, and means of them.

Candidates are found along the curve: those at odd multiples of 2^level up to 15 from the site, of
its own group or of the base, and from other groups the nearest sites of the base on either side.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sad_jax.storage.compact.fixed import logarithm
from sad_jax.storage.compact.order import GROUP_BITS, Batch, Order

NEAREST = 6
REACH = 15  # along the curve, in strides of the level
BASE_REACH = 4  # sites of the base on either side
_WEIGHT_BITS = 20


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Of M sites: ``sites`` int64[M, 6], and their weights int64[M, 6], zero for none."""

    sites: np.ndarray
    weights: np.ndarray
    nearest: np.ndarray  # int64[M], log2 of the squared distance to the nearest two, in cells

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The weighted mean of values int64[N], rounded down; zero without neighbours."""
        total = np.maximum(self.weights.sum(1), 1)
        return (self.weights * values[self.sites]).sum(1) // total

    def spread(self, values: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """The weighted mean distance from the mean."""
        total = np.maximum(self.weights.sum(1), 1)
        return (self.weights * abs(values[self.sites] - mean[:, None])).sum(1) // total


def find_neighbours(order: Order, batch: Batch, x: np.ndarray, y: np.ndarray) -> Neighbours:
    """The neighbours of a batch by the cells int64[N] of all sites that are read so far."""
    own = batch.sites[:, None]
    odd = np.arange(1, REACH + 1, 2, dtype=np.int64) << batch.level
    along = np.concatenate([own - odd, own + odd], axis=1)
    there = (along >= 0) & (along < order.num_sites)
    if batch.level < order.base_level:
        group = own >> GROUP_BITS
        there &= along >> GROUP_BITS == group
        around = np.arange(1 - BASE_REACH, BASE_REACH + 1, dtype=np.int64)
        base = ((own >> order.base_level) + around) << order.base_level
        outside = (base >= 0) & (base < order.num_sites) & (base >> GROUP_BITS != group)
        along = np.concatenate([along, base], axis=1)
        there = np.concatenate([there, outside], axis=1)
    along = np.where(there, along, 0)
    away = (x[along] - x[own]) ** 2 + (y[along] - y[own]) ** 2
    away = np.where(there, away, 2**62)
    chosen = np.argsort(away, axis=1, kind="stable")[:, :NEAREST]
    away = np.take_along_axis(away, chosen, axis=1)
    weights = np.where(away < 2**62, 2**_WEIGHT_BITS // (4 * np.minimum(away, 2**40) + 3), 0)
    two = np.minimum(away[:, :2], 2**40).sum(1)
    return Neighbours(np.take_along_axis(along, chosen, axis=1), weights, logarithm(two + 1))
