"""ValueRange: least and largest value of a picture, which a fit takes for 0 and 1.

A blend of colours is an average, so the model is affine in its colours: a picture in any range is
fitted as one in [0, 1], and the colours of its sites are mapped back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float


class ValueRange(NamedTuple):
    """``low`` and ``high``, at most 0 and at least 1; its width is the peak of a PSNR."""

    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, values: Float[ArrayLike, ...]) -> ValueRange:
        """The least range that holds [0, 1] and all values.

        Examples:
          >>> from sad_jax.model.value_range import ValueRange
          >>> ValueRange.of([0.25, 0.5]), ValueRange.of([-1.0, 0.5])
          (ValueRange(low=0.0, high=1.0), ValueRange(low=-1.0, high=1.0))
        """
        values = np.asarray(values)
        return cls(min(0.0, float(values.min())), max(1.0, float(values.max())))

    @property
    def is_unit(self) -> bool:
        """Whether it is [0, 1], so that nothing is mapped."""
        return self == ValueRange()

    def to_unit(self, values: Float[ArrayLike, "*A"]) -> Float[np.ndarray, "*A"]:
        """Values of the range as float32 in [0, 1]; those of [0, 1] are not touched."""
        values = np.asarray(values, np.float32)
        if self.is_unit:
            return values
        return ((values.astype(np.float64) - self.low) / (self.high - self.low)).astype(np.float32)

    def from_unit(self, values: Float[ArrayLike, "*A"]) -> Float[np.ndarray, "*A"]:
        """Undoes ``to_unit``, up to rounding; the result lies within the range."""
        values = np.asarray(values, np.float32)
        if self.is_unit:
            return values
        mapped = self.low + values.astype(np.float64) * (self.high - self.low)
        return np.clip(mapped, self.low, self.high).astype(np.float32)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"
