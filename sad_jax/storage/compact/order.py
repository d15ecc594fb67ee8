"""Levels of detail, and groups that are read on their own.

Sites are numbered along the curve. The level of site i > 0 is how often 2 divides i, that of site 0
the top. The **base** holds the sites of level ``base_level`` and above, the **group** g the others
among the sites g 2^8 to g 2^8 + 255. The base is read first, then any groups; within both a level
follows the one above it, so that what has been read is a coarser picture.

Lanes: a group has one; the base has one for every 256 of its sites, dealt out in turn.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sad_jax.storage.compact.rans import Turns

GROUP_BITS = 8
GROUP = 2**GROUP_BITS  # sites that a group spans
ALONE = 2 * GROUP  # so many sites need no groups: all are the base
BASE_LEVEL = 4


@dataclasses.dataclass(frozen=True)
class Batch:
    """The sites of one level: their numbers int64[M], their lanes' turns, and the level."""

    sites: np.ndarray
    turns: Turns
    level: int


@dataclasses.dataclass(frozen=True)
class Order:
    """How the sites of a picture are ordered."""

    num_sites: int

    @property
    def base_level(self) -> int:
        return 0 if self.num_sites <= ALONE else BASE_LEVEL

    @property
    def top(self) -> int:
        """The level of site 0, above which nothing is."""
        return max((self.num_sites - 1).bit_length(), self.base_level)

    @property
    def base_sites(self) -> int:
        return -(-self.num_sites >> self.base_level)

    @property
    def base_lanes(self) -> int:
        return -(-self.base_sites // GROUP)

    @property
    def groups(self) -> int:
        return -(-self.num_sites // GROUP) if self.base_level else 0

    def level(self, site: np.ndarray) -> np.ndarray:
        """The level of each site."""
        low = site & -site
        return np.where(site == 0, self.top, np.frexp(low.astype(np.float64))[1] - 1)

    def base(self, lowest: int = 0) -> list[Batch]:
        """The batches of the base, from the top to the level ``lowest``."""
        batches = []
        for level in range(self.top, max(lowest, self.base_level) - 1, -1):
            first = 0 if level == self.top else 1 << level
            sites = np.arange(first, self.num_sites, 2 << level, dtype=np.int64)
            if len(sites):
                turns = -(-len(sites) // self.base_lanes)
                counts = np.full(turns, self.base_lanes)
                counts[-1] -= turns * self.base_lanes - len(sites)
                batches.append(Batch(sites, Turns.in_rows(counts), level))
        return batches

    def within(self, groups: np.ndarray, lowest: int = 0) -> list[Batch]:
        """The batches of some groups, by rising number, down to the level ``lowest``."""
        batches = []
        for level in range(self.base_level - 1, lowest - 1, -1):
            within = np.arange(1 << level, GROUP, 2 << level, dtype=np.int64)
            sites = (groups << GROUP_BITS) + within[:, None]
            there = sites < self.num_sites  # only the last group is shorter
            if there.any():
                counts = there.sum(1)
                batches.append(Batch(sites[there], Turns.in_rows(counts[counts > 0]), level))
        return batches

    def members(self, groups: np.ndarray, lowest: int = 0) -> np.ndarray:
        """The numbers, rising, of the sites of the base and of some groups, down to a level."""
        kept = np.zeros(self.num_sites, bool)
        kept[:: 1 << max(self.base_level, lowest)] = True
        for batch in self.within(groups, lowest):
            kept[batch.sites] = True
        return np.flatnonzero(kept)
