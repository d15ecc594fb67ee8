"""Recipe: how a fit starts, goes on and ends. Its fields are the constants of the fit."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from sad_jax.backend import Backend
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.optimize import density
from sad_jax.optimize.edits import edit, refresh
from sad_jax.optimize.least_squares import Target
from sad_jax.optimize.state import State

THIN_SHARE = 0.25  # of the sites, that one round of ``thin`` takes out at most


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One picture to fit.

    Attributes:
      image: float32[H, W, C].
      target: the same and its weights, laid out in cells; it names the backend.
      canvas: the picture's canvas.
      budget: the most sites in the file.
      initial: sites at the start, at least the budget.
      steps: optimiser steps in all.
    """

    image: np.ndarray
    target: Target
    canvas: Canvas
    budget: int
    initial: int
    steps: int

    @property
    def backend(self) -> Backend:
        return self.target.backend


@dataclasses.dataclass(frozen=True)
class Recipe(abc.ABC):
    """What drives a fit; a frozen dataclass whose fields are its constants.

    Attributes:
      steps: optimiser steps, unless the ``FitConfig`` says otherwise.
      pixels_per_initial_site: so many pixels have one site at the start.
    """

    name: ClassVar[str]

    steps: int
    pixels_per_initial_site: int

    @abc.abstractmethod
    def most_initial_sites(self, budget: int) -> int:
        """Sites at the start unless the settings ask for more."""

    @abc.abstractmethod
    def start(self, task: Task, key: jax.Array) -> State:
        """The state before the first step."""

    @abc.abstractmethod
    def advance(self, task: Task, state: State, progress: float) -> State:
        """Some steps further; ``progress`` is the share of the run that is done, 0 to 1."""

    @abc.abstractmethod
    def finish(self, task: Task, state: State) -> tuple[Sites, jax.Array]:
        """The sites to store, at most the budget, and their mean squared error in the loop."""

    def initial_sites(self, pixels: int, budget: int) -> int:
        """Sites at the start on a picture of so many pixels."""
        usual = max(1, pixels // self.pixels_per_initial_site)
        return min(usual, self.most_initial_sites(budget))

    def to_dict(self) -> dict[str, Any]:
        """The name and all fields, for JSON."""
        return {"name": self.name, **dataclasses.asdict(self)}


def change_sites(
    task: Task, state: State, *, prunes: int = 0, splits: int = 0, moves: int = 0, worth: float = 1
) -> State:
    """Takes the cheapest sites out and splits the worst; the lists are left as they were.

    ``moves`` are as many more of both, or as many of them as pay, see ``density.worth_moving``.
    """
    stats = density.statistics(state.sites, state.lists, task.target)
    if moves:
        moves = density.worth_moving(stats, np.asarray(state.alive), prunes, moves, worth)
    return edit(state, stats, task.image, prunes=prunes + moves, splits=splits + moves)


def thin(task: Task, state: State) -> State:
    """Takes the cheapest sites out until the budget is left, with exact lists after each round.

    A round takes at most a quarter: what a removal costs depends on the neighbours' staying.
    """
    while (count := state.num_sites) > task.budget:
        round_size = min(count - task.budget, max(1, int(count * THIN_SHARE)))
        state = change_sites(task, state, prunes=round_size)
        state = refresh(state, implementation=task.backend)
    return state
