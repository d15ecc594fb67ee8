"""Task: one picture to fit, its weights, canvas and budget."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from sad_jax.backend import Backend, resolve
from sad_jax.coding.rate import Aim
from sad_jax.fitting.config import FitConfig
from sad_jax.model.canvas import Canvas
from sad_jax.model.room import check_fit_room
from sad_jax.model.value_range import ValueRange
from sad_jax.optimize.least_squares import Target, make_target


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One picture to fit.

    Attributes:
      image: float32[H, W, C], the photo in [0, 1], with the mean colour where the weight is zero;
        sites start from it, and children take its colours.
      target: the photo in [0, 1] and its weights, laid out in cells; it names the backend.
      value_range: of the photo's values that count, which are 0 and 1 here.
      canvas: the picture's canvas.
      budget: the most sites in the file.
      initial: sites at the start, at least the budget.
      steps: optimiser steps in all, at most.
      aim: what the file should be.
    """

    image: np.ndarray
    target: Target
    value_range: ValueRange
    canvas: Canvas
    budget: int
    initial: int
    steps: int
    aim: Aim

    @property
    def backend(self) -> Backend:
        return self.target.backend


def make_task(photo: np.ndarray, weight: jax.Array | None, config: FitConfig) -> Task:
    """One picture with its budget; raises where the settings do not run, or memory is too small."""
    canvas = config.canvas(photo.shape[:2])
    budget = config.budget(canvas.shape)
    usual = config.constants.initial_sites(canvas.pixels, budget)
    initial = max(config.initial_sites or usual, budget)
    check_fit_room(canvas, photo.shape[2], initial)
    value_range = ValueRange.of(photo if weight is None else photo[np.asarray(weight) > 0])
    photo = value_range.to_unit(photo)
    image = jnp.asarray(photo)
    backend = resolve(config.implementation, image, k=canvas.k)
    return Task(
        image=visible(photo, weight),
        target=make_target(canvas.grid, image, weight, loss=config.loss, backend=backend),
        value_range=value_range,
        canvas=canvas,
        budget=budget,
        initial=initial,
        steps=config.most_steps,
        aim=config.aim(canvas.shape),
    )


def check_mask(
    mask: Shaped[ArrayLike, "H W"] | None, shape: tuple[int, int]
) -> Float[Array, "H W"] | None:
    """Weights float32[H, W], or None; raises a ValueError unless they are usable."""
    if mask is None:
        return None
    weight = np.asarray(mask, np.float32)
    if weight.shape != tuple(shape):
        raise ValueError(
            f"expected a mask of the image's (H, W) {tuple(shape)}, got {weight.shape}"
        )
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() == 0:
        raise ValueError("expected mask weights that are finite, at least 0 and not all 0")
    return jnp.asarray(weight)


def visible(photo: np.ndarray, weight: jax.Array | None) -> np.ndarray:
    """The photo, with the mean colour of what counts where the weight is zero."""
    if weight is None:
        return photo
    counts = np.asarray(weight) > 0
    return np.where(counts[..., None], photo, photo[counts].mean(0))
