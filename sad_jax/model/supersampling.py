"""Pixels as means of squares of smaller ones."""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np

A = TypeVar("A", np.ndarray, jax.Array)


def shrunk(picture: A, samples: int) -> A:
    """The means of squares of ``samples`` x ``samples`` pixels.

    Args:
      picture: [samples H, samples W, ...].
      samples: pixels a side of a square.

    Returns:
      [H, W, ...].
    """
    if samples == 1:
        return picture
    height, width, *rest = picture.shape
    squares = height // samples, samples, width // samples, samples
    return picture.reshape(*squares, *rest).mean((1, 3))


def repeated(picture: A, samples: int) -> A:
    """Every pixel as a square of ``samples`` x ``samples`` equal ones: [H, W, ...] ->
    [samples H, samples W, ...]."""
    return picture if samples == 1 else picture.repeat(samples, 0).repeat(samples, 1)
