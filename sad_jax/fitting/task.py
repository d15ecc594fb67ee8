"""Task: one picture to fit, its weights, canvas and budget."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh

from sad_jax.backend import Backend
from sad_jax.coding.rate import Aim
from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.photo import Photo, PhotoInBands, start_sites
from sad_jax.lists.candidates import Candidates, unknown_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.model.canvas import Canvas
from sad_jax.model.frame import Frame
from sad_jax.model.room import check_fit_room
from sad_jax.model.sites import Sites, along_curve
from sad_jax.model.value_range import ValueRange
from sad_jax.optimize.least_squares import Target
from sad_jax.sharding import whole


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One picture to fit.

    Attributes:
      image: float32[H, W, C], the photo in [0, 1], with the mean colour where the weight is zero,
        its pixels repeated where it is supersampled; sites start from it, and children take its
        colours. Over a mesh it has more rows.
      target: the photo in [0, 1] and its weights, laid out in cells; it names the backend.
      value_range: of the photo's values that count, which are 0 and 1 here.
      frame: in which the fit computes; the target lies in it.
      budget: the most sites in the file.
      initial: sites at the start, at least the budget.
      steps: optimiser steps in all, at most.
      aim: what the file should be.
    """

    image: np.ndarray | jax.Array
    target: Target
    value_range: ValueRange
    frame: Frame
    budget: int
    initial: int
    steps: int
    aim: Aim

    @property
    def canvas(self) -> Canvas:
        """The picture's canvas."""
        return self.frame.own

    @property
    def backend(self) -> Backend:
        return self.target.backend

    @property
    def mesh(self) -> Mesh | None:
        """The devices over which the picture lies in bands."""
        return self.target.mesh

    def shapes(self, *counts: int) -> tuple:
        """The shapes of a fit's arrays, with so many sites at one time and another."""
        channels = self.image.shape[2]
        return self.frame.canvas, channels, *(self.frame.slots(count) for count in counts)

    def start(self, key: jax.Array, count: int) -> Sites:
        """The sites at the start, in the frame with rows for ``count``, whole on every device.

        They are in order of place: what neighbours need is near.
        """
        sites = start_sites(self.image, self.canvas, self.initial, key)
        return whole(self.frame.enter(along_curve(sites, self.canvas), count), self.mesh)


def make_task(photo: Photo | PhotoInBands, config: FitConfig) -> Task:
    """One picture with its budget; raises where the settings do not run, or memory is too small."""
    height, width, channels = photo.shape
    canvas = config.canvas((height, width))
    budget = config.budget((height, width))
    usual = config.constants.initial_sites(height * width, budget)
    initial = max(config.initial_sites or usual, budget)
    processes = 1 if photo.mesh is None else jax.process_count()
    aim = config.aim((height, width))
    check_fit_room(canvas.band(processes), channels, initial, rounded=not aim.lossless)
    frame, value_range = Frame.of(canvas, padded=config.padded), photo.value_range()
    photo = photo.to_unit(value_range)
    samples = config.supersampling
    photo = photo.repeated(samples) if isinstance(photo, Photo) else photo
    target = photo.target(frame.canvas, config.loss, config.implementation)
    return Task(
        image=photo.visible(),
        target=target.replace(samples=samples),
        value_range=value_range,
        frame=frame,
        budget=budget,
        initial=initial,
        steps=config.most_steps,
        aim=aim,
    )


def exact_lists(task: Task, sites: Sites, canvas: Canvas | None = None) -> Candidates:
    """The lists that a decoder finds, by the program that later searches run, too.

    ``canvas`` may be another one than the picture's.
    """
    canvas = task.frame.canvas if canvas is None else canvas
    near = unknown_lists(canvas, sites, task.mesh)
    return find_candidates(sites, canvas, implementation=task.backend, near=near)
