"""Recipe "paper": the published Adam recipe with its splits and prunings.

4,000 Adam steps at constant rates. Every 20 steps, from 20 to three quarters of the run, 1 % of the
sites are split; every 40 steps from 100 on 3.3 % are removed. Both percentages are scaled by one
factor, found by simulating the schedule, so that the run ends with the budget. (Iinbor et al.,
SIGGRAPH 2026, and its code.)

The lists are propagated as published, every 8 steps. In the last quarter, where the sites no longer
come and go, they are also corrected by the exact ones every 100 steps and at the end: the decoder
uses exact lists, so that the file shows what the fit has seen.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax import density
from sad_jax.candidates import seed_candidates, write_home
from sad_jax.canvas import Canvas
from sad_jax.config import FitConfig
from sad_jax.init import init_sites
from sad_jax.losses import Target
from sad_jax.optim import paper_optimizer
from sad_jax.recipe import Recipe
from sad_jax.sites import Sites
from sad_jax.train import FitState, run_adam

STEPS = 4000
SPLIT_EVERY, SPLIT_START, SPLIT_SHARE = 20, 20, 0.01
PRUNE_EVERY, PRUNE_START, PRUNE_SHARE = 40, 100, 0.033
DENSITY_END = 0.75  # of the steps
EXACT_EVERY = 100
MAX_SHARE = 0.95  # that one event splits or prunes
GROWTH = 1.25  # most sites there may be at once, over those at the start
INITIAL_SITES = 128_000


class Schedule:
    """Which share of the sites is split and pruned at which step.

    Attributes:
      factor: by which both published shares are multiplied.
      capacity: the largest number of sites there will be at once.
    """

    def __init__(self, initial: int, budget: int, steps: int):
        self.end = int(DENSITY_END * steps)
        self.most = round(GROWTH * initial)
        self._events = range(SPLIT_START, self.end + 1, SPLIT_EVERY)
        low, high = 0.0, MAX_SHARE / PRUNE_SHARE
        for _ in range(50):
            self.factor = (low + high) / 2
            low, high = (
                (low, self.factor) if self._simulate(initial)[0] < budget else (self.factor, high)
            )
        self.capacity = max(self._simulate(initial)[1], budget)

    def changes(self, step: int, alive: int) -> tuple[int, int]:
        """How many sites to split and how many to prune after ``step`` steps.

        Where both fall on one step, the published program prunes what it has just split: a newborn
        site is in no list yet, so its removal costs nothing. Only the difference is pruned.
        """
        splits = prunes = 0
        if SPLIT_START <= step <= self.end and step % SPLIT_EVERY == 0:
            splits = min(int(alive * self._share(SPLIT_SHARE)), max(self.most - alive, 0))
        if PRUNE_START <= step < self.end and step % PRUNE_EVERY == 0:
            prunes = int((alive + splits) * self._share(PRUNE_SHARE))
        both = min(splits, prunes)
        return splits - both, prunes - both

    def _share(self, published: float) -> float:
        return min(published * self.factor, MAX_SHARE)

    def _simulate(self, alive: int) -> tuple[int, int]:
        """Sites at the end, and the most there were."""
        most = alive
        for step in self._events:
            splits, prunes = self.changes(step, alive)
            alive += splits - prunes
            most = max(most, alive)
        return alive, most


class PaperRecipe(Recipe):
    """The published recipe."""

    default_steps = STEPS
    pixels_per_initial_site = 3  # about the published start on a Kodak picture

    def __init__(self, image: np.ndarray, target: Target, canvas: Canvas, config: FitConfig):
        super().__init__(image, target, canvas, config)
        self.schedule = Schedule(self.initial, self.budget, self.steps)

    def most_initial_sites(self) -> int:
        return INITIAL_SITES

    def start(self, key: jax.Array) -> FitState:
        start_key, list_key, key = jax.random.split(key, 3)
        free = self.schedule.capacity - self.initial
        sites = jax.tree.map(
            lambda a: jnp.pad(a, [(0, free)] + [(0, 0)] * (a.ndim - 1)),
            init_sites(self.image, self.initial, key=start_key),
        )
        alive = np.arange(self.schedule.capacity) < self.initial
        sites = density.park(sites, np.flatnonzero(~alive))
        return FitState(
            sites=jax.tree.map(jnp.asarray, sites),
            alive=jnp.asarray(alive),
            lists=seed_candidates(sites, self.canvas, key=list_key),
            optimizer=paper_optimizer().init(sites),
            step=jnp.int32(0),
            key=key,
            mse=jnp.float32(jnp.nan),
        )

    def advance(self, state: FitState, progress: float) -> FitState:
        """The steps up to the next split, pruning or exact search, and that."""
        step = int(state.step)
        count = min(SPLIT_EVERY - step % SPLIT_EVERY, self.steps - step)
        state = run_adam(state, self.target, jnp.int32(count), jnp.float32(self.steps))
        step += count
        if step <= self.schedule.end and step < self.steps:
            return self._control(state, step)
        if step % EXACT_EVERY == 0 or step == self.steps:
            return self.search(state)
        return state

    def finish(self, state: FitState) -> tuple[Sites, jax.Array]:
        state = self.thin(state, self.budget)  # only a run that was cut short has too many
        return jax.tree.map(lambda a: a[np.flatnonzero(state.alive)], state.sites), state.mse

    def _control(self, state: FitState, step: int) -> FitState:
        """Prunes and splits, and offers the children to the lists of their cells."""
        splits, prunes = self.schedule.changes(step, state.num_alive)
        if not splits and not prunes:
            return state
        state = self.edit(state, prunes, splits)
        return state.replace(lists=write_home(state.lists, state.sites))
