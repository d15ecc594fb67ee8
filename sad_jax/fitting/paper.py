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

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from sad_jax.fitting.recipe import Recipe, Task, change_sites, thin
from sad_jax.lists.flooding import offer_at_home, seed_candidates
from sad_jax.model.sites import Sites, pad
from sad_jax.model.start import init_sites
from sad_jax.optimize.adam import RATES, Rates, paper_optimizer
from sad_jax.optimize.edits import refresh
from sad_jax.optimize.state import State
from sad_jax.optimize.steps import run_adam


@dataclasses.dataclass(frozen=True)
class PaperRecipe(Recipe):
    """The published recipe: Adam, splits and prunings, propagated lists.

    Attributes:
      steps: optimiser steps, unless the ``FitConfig`` says otherwise.
      pixels_per_initial_site: so many pixels have one site at the start (3 is about the published
        start on a Kodak picture) ...
      initial_limit: ... but there are at most so many.
      split_every, split_start, split_share: every so many steps, from so many on, this share of the
        sites is split, times the factor that meets the budget.
      prune_every, prune_start, prune_share: the same for removals.
      density_end: share of the run after which no site is split or removed.
      most_share: the most that one event splits or prunes, as a share of all sites.
      growth: the most sites there may be at once, over those at the start.
      lists_every: steps between two propagation passes.
      exact_every: steps between two corrections by exact lists, after ``density_end``.
      rates: the optimiser's learning rates.

    Example:
      >>> import sad_jax as sad
      >>> sad.FitConfig(num_sites=50, recipe=sad.PaperRecipe(growth=1.5)).recipe.steps
      4000
    """

    name: ClassVar[str] = "paper"

    steps: int = 4000
    pixels_per_initial_site: int = 3
    initial_limit: int = 128_000
    split_every: int = 20
    split_start: int = 20
    split_share: float = 0.01
    prune_every: int = 40
    prune_start: int = 100
    prune_share: float = 0.033
    density_end: float = 0.75
    most_share: float = 0.95
    growth: float = 1.25
    lists_every: int = 8
    exact_every: int = 100
    rates: Rates = RATES

    def most_initial_sites(self, budget: int) -> int:
        return self.initial_limit

    def schedule(self, task: Task) -> Schedule:
        """Its splits and prunings on one picture."""
        return Schedule(self, task.initial, task.budget, task.steps)

    def start(self, task: Task, key: jax.Array) -> State:
        start_key, list_key, key = jax.random.split(key, 3)
        sites = init_sites(task.image, task.initial, key=start_key)
        sites = pad(sites, self.schedule(task).capacity)
        return State(
            sites=sites,
            lists=seed_candidates(sites, task.canvas, key=list_key),
            optimizer=paper_optimizer(self.rates).init(sites),
            step=jnp.int32(0),
            key=key,
        )

    def advance(self, task: Task, state: State, progress: float) -> State:
        """The steps up to the next split, pruning or exact search, and that."""
        step, schedule = int(state.step), self.schedule(task)
        count = min(self.split_every - step % self.split_every, task.steps - step)
        state = run_adam(
            state,
            task.target,
            jnp.int32(count),
            jnp.float32(task.steps),
            rates=self.rates,
            lists_every=self.lists_every,
        )
        step += count
        if step <= schedule.end and step < task.steps:
            return self._control(task, schedule, state, step)
        if step % self.exact_every == 0 or step == task.steps:
            return refresh(state, implementation=task.backend)
        return state

    def finish(self, task: Task, state: State) -> tuple[Sites, jax.Array]:
        state = thin(task, state)  # only a run that was cut short has too many
        return state.compact(), state.value

    def _control(self, task: Task, schedule: Schedule, state: State, step: int) -> State:
        """Prunes and splits, and offers the children to the lists of their cells."""
        splits, prunes = schedule.changes(step, state.num_sites)
        if not splits and not prunes:
            return state
        state = change_sites(task, state, prunes=prunes, splits=splits)
        return state.replace(lists=offer_at_home(state.sites, state.lists))


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Which share of the sites is split and pruned at which step.

    Attributes:
      recipe: its constants.
      initial: sites at the start.
      budget: sites at the end.
      steps: in all.
    """

    recipe: PaperRecipe
    initial: int
    budget: int
    steps: int

    @property
    def end(self) -> int:
        """The last step at which sites come and go."""
        return int(self.recipe.density_end * self.steps)

    @property
    def factor(self) -> float:
        """By which both published shares are multiplied."""
        return _factor(self)

    @property
    def capacity(self) -> int:
        """The largest number of sites there will be at once."""
        return max(self.simulate(self.factor)[1], self.budget)

    def changes(self, step: int, alive: int, factor: float | None = None) -> tuple[int, int]:
        """How many sites to split and how many to prune after ``step`` steps.

        Where both fall on one step, the published program prunes what it has just split: a newborn
        site is in no list yet, so its removal costs nothing. Only the difference is pruned.
        """
        recipe, splits, prunes = self.recipe, 0, 0
        factor = self.factor if factor is None else factor
        share = lambda published: min(published * factor, recipe.most_share)  # noqa: E731
        if recipe.split_start <= step <= self.end and step % recipe.split_every == 0:
            room = max(round(recipe.growth * self.initial) - alive, 0)
            splits = min(int(alive * share(recipe.split_share)), room)
        if recipe.prune_start <= step < self.end and step % recipe.prune_every == 0:
            prunes = int((alive + splits) * share(recipe.prune_share))
        both = min(splits, prunes)
        return splits - both, prunes - both

    def simulate(self, factor: float) -> tuple[int, int]:
        """Sites at the end, and the most there were."""
        alive = most = self.initial
        for step in range(self.recipe.split_start, self.end + 1, self.recipe.split_every):
            splits, prunes = self.changes(step, alive, factor)
            alive += splits - prunes
            most = max(most, alive)
        return alive, most


@functools.lru_cache(maxsize=64)
def _factor(schedule: Schedule) -> float:
    """The factor with which the run ends at the budget, by bisection."""
    low, high = 0.0, schedule.recipe.most_share / schedule.recipe.prune_share
    for _ in range(50):
        factor = (low + high) / 2
        if schedule.simulate(factor)[0] < schedule.budget:
            high = factor
        else:
            low = factor
    return factor
