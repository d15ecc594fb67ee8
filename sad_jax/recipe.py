"""What ``fit`` asks of a recipe: how a fit starts, goes on and ends; and edits of its sites."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax import density
from sad_jax.candidates import Candidates
from sad_jax.canvas import Canvas
from sad_jax.config import FitConfig
from sad_jax.losses import Target
from sad_jax.search import find_candidates
from sad_jax.sites import Sites
from sad_jax.train import FitState

THIN_SHARE = 0.25


class Recipe(abc.ABC):
    """A recipe on one picture; ``fit`` drives it.

    Args:
      image: float32[H, W, C].
      target: the same and its weights, laid out in cells.
      canvas: the picture's canvas.
      config: the settings.
    """

    default_steps: int
    pixels_per_initial_site: int

    def __init__(self, image: np.ndarray, target: Target, canvas: Canvas, config: FitConfig):
        self.image, self.target, self.canvas = image, target, canvas
        self.budget = config.budget(canvas)
        self.steps = config.steps or self.default_steps
        usual = max(1, canvas[0] * canvas[1] // self.pixels_per_initial_site)
        usual = min(usual, self.most_initial_sites())
        self.initial = max(config.initial_sites or usual, self.budget)

    @abc.abstractmethod
    def most_initial_sites(self) -> int:
        """Sites at the start unless the settings ask for more."""

    @abc.abstractmethod
    def start(self, key: jax.Array) -> FitState:
        """The state before the first step."""

    @abc.abstractmethod
    def advance(self, state: FitState, progress: float) -> FitState:
        """Some steps further; ``progress`` is the share of the run that is done, 0 to 1."""

    @abc.abstractmethod
    def finish(self, state: FitState) -> tuple[Sites, jax.Array]:
        """The sites to store, at most the budget, and their mean squared error in the loop."""

    def edit(self, state: FitState, prunes: int, splits: int, moves: int = 0) -> FitState:
        """Takes the cheapest sites out and splits the worst; the lists are left as they were.

        ``moves`` are as many more of both, or as many of them as pay (``density.worth_moving``).
        """
        stats = density.statistics(state.lists.grid, state.sites, state.lists.ids, self.target)
        alive = np.array(state.alive)
        if moves:
            moves = density.worth_moving(stats, alive, prunes, moves)
            prunes, splits = prunes + moves, splits + moves
        gone = density.cheapest(stats, alive, prunes)
        alive[gone] = False
        free = np.flatnonzero(~alive)
        parents = density.worst(stats, alive, min(splits, len(free)))
        sites = density.park(state.sites, gone)
        sites, changed = density.split(sites, stats, self.image, parents, free[: len(parents)])
        alive[changed] = True
        optimizer = density.clear_rows(state.optimizer, changed, len(alive))
        return state.replace(
            sites=jax.tree.map(jnp.asarray, sites),
            alive=jnp.asarray(alive),
            optimizer=jax.tree.map(jnp.asarray, optimizer),
        )

    def exact_lists(self, sites: Sites, near: Candidates | None = None) -> Candidates:
        """The lists that a decoder will find; ``near`` are those of a little while ago."""
        return find_candidates(
            sites, self.canvas, implementation=self.target.implementation, near=near
        )

    def search(self, state: FitState) -> FitState:
        """The state with exact lists."""
        return state.replace(lists=self.exact_lists(state.sites, state.lists))

    def thin(self, state: FitState, goal: int) -> FitState:
        """Takes the cheapest sites out until ``goal`` are left, with exact lists after each round.

        A round takes at most a quarter: what a removal costs depends on the neighbours' staying.
        """
        while (count := state.num_alive) > goal:
            round_size = min(count - goal, max(1, int(count * THIN_SHARE)))
            state = self.search(self.edit(state, round_size, 0))
        return state
