"""Frame: the canvas and the number of rows in which a fit computes, perhaps those of many pictures.

JAX compiles anew for every size of picture and number of sites. In a padded frame a picture lies in
the upper left corner of a canvas whose sides are multiples of 64 pixels, its pixels beyond the edge
weighing nothing, and its sites are followed by free slots; so fits of many sizes share programs.

What the padding changes of the model is S = max(W, H), by which distances are divided. With
log tau + log(S' / S) in place of log tau all scores are what they were.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites, pad

SIDE = 64  # pixels, of which a padded side is a multiple
LEAST_SLOTS = 256
STEPS = 2  # numbers of slots from a power of two to the next


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where a picture lies in a fit.

    Attributes:
      own: the picture's canvas.
      canvas: that of the fit, at least as large.
      padded: whether it is one of few.
    """

    own: Canvas
    canvas: Canvas
    padded: bool = False

    @classmethod
    def of(cls, own: Canvas, *, padded: bool = False) -> Frame:
        """The picture's own canvas, or a padded one."""
        if not padded:
            return cls(own, own)
        height, width = (-(-side // SIDE) * SIDE for side in own.shape)
        return cls(own, dataclasses.replace(own, shape=(height, width)), padded=True)

    @property
    def shift(self) -> float:
        """What is added to log tau."""
        return math.log(self.canvas.size / self.own.size)

    def slots(self, count: int) -> int:
        """Rows for so many sites."""
        if not self.padded:
            return count
        step = max(2 ** math.floor(math.log2(count)) // STEPS, LEAST_SLOTS)
        return -(-count // step) * step

    def enter(self, sites: Sites, count: int | None = None) -> Sites:
        """The picture's sites in the frame, with rows for ``count`` or for themselves."""
        rows = self.slots(sites.num_sites if count is None else count)
        if self.padded:
            sites = sites.replace(log_tau=sites.log_tau + np.float32(self.shift))
        return pad(sites, rows) if rows > sites.num_sites else sites

    def leave(self, sites: Sites) -> Sites:
        """Undoes ``enter``, up to rounding; a padded frame's free slots go."""
        if not self.padded:
            return sites
        own = sites.compact()
        return own.replace(log_tau=own.log_tau - np.float32(self.shift))

    def crop(self, picture: jax.Array) -> jax.Array:
        """The picture's own pixels of one in the frame."""
        height, width = self.own.shape
        return picture[:height, :width] if self.padded else picture

    def crop_bands(self, bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The picture's own pixels of one in the frame that comes in bands of rows."""
        (left, width) = self.own.shape
        for band in bands:
            yield band[:left, :width]
            left = max(left - len(band), 0)

    def crop_ids(self, ids: np.ndarray) -> np.ndarray:
        """The lists of the picture's own cells."""
        return ids[: self.own.grid.rows, : self.own.grid.columns]

    def pad_rows(self, free: np.ndarray) -> jax.Array:
        """float[R, slots] of bool[R, N]: free slots are false."""
        missing = self.slots(free.shape[1]) - free.shape[1]
        return jax.device_put(np.pad(free, ((0, 0), (0, missing))).astype(np.float32))
