"""Recipe "paper": the published Adam recipe with its splits and prunings.

4,000 Adam steps at constant rates. Every 20 steps, from 20 to three quarters of the run, 1 % of the
sites are split; every 40 steps from 100 on 3.3 % are removed. Both percentages are scaled by one
factor, found by simulating the schedule, so that the run ends with the budget. (Iinbor et al.,
SIGGRAPH 2026, and its code.)

The lists are propagated as published, every 8 steps. In the last quarter, where the sites no longer
come and go, they are also corrected by the exact ones every 100 steps and at the end: the decoder
uses exact lists, so that the file shows what the fit has seen. Of these states on exact lists the
best is stored.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.fitting.recipe import PaperRecipe
from sad_jax.fitting.task import Task
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.flooding import levels, offer_at_home, seed
from sad_jax.model.sites import Sites
from sad_jax.optimize.adam import paper_optimizer
from sad_jax.optimize.density import HOLE, Statistics, statistics
from sad_jax.optimize.edits import edit, refresh, thin
from sad_jax.optimize.least_squares import Target
from sad_jax.optimize.rows import find_rows
from sad_jax.optimize.state import Best, State
from sad_jax.optimize.steps import run_adam
from sad_jax.sharding import whole


class Pace(NamedTuple):
    """How a fit goes on until the next split, pruning or exact search: on the host, or traced.

    ``steps``: int32[]; ``total``: float[], of the whole run; ``exact``: bool[], whether the lists
    are exact and the sites within the budget, so that they may be the best; ``count``: int32[],
    slots, without those of a padded frame.
    """

    steps: Any
    total: Any
    exact: Any
    count: Any


@dataclasses.dataclass(frozen=True)
class PaperFit:
    """How a fit by a ``PaperRecipe`` starts, goes on and ends."""

    recipe: PaperRecipe

    def schedule(self, task: Task) -> Schedule:
        """Its splits and prunings on one picture."""
        return Schedule(self.recipe, task.initial, task.budget, task.steps)

    def start(self, task: Task, key: jax.Array) -> State:
        start_key, list_key, key = jax.random.split(key, 3)
        capacity, frame = self.schedule(task).capacity, task.frame
        sites = task.start(start_key, capacity)
        lists = seed(frame.canvas, task.mesh, sites, list_key, np.int32(capacity))
        passes = levels(frame.canvas.grid) - levels(frame.own.grid)  # of jumps beyond the picture
        optimizer = paper_optimizer(self.recipe.rates)
        return State(
            sites=sites,
            lists=lists.replace(passes=lists.passes + passes),
            optimizer=jax.jit(optimizer.init)(sites),
            step=jax.device_put(np.int32(0)),
            rows=find_rows(optimizer, sites),
            key=key,
            best=Best.none_yet(sites),
        )

    def shapes(self, task: Task) -> tuple:
        """What states have alike that can be stacked."""
        return task.shapes(self.schedule(task).capacity)

    def advance(self, task: Task, state: State, progress: float) -> State:
        """Splits, prunings and exact lists where it is time, then the steps up to the next ones."""
        if int(state.step):
            state = self.control(task, state, progress)
        return self.run(state, task.target, self.pace(task, state, progress))

    def together(self, state: State, target: Target, pace: Pace) -> State:
        """The steps of one of many pictures."""
        return self.run(state, target, pace)

    def control(self, task: Task, state: State, progress: float) -> State:
        """What falls on this step: splits and prunings, later exact lists."""
        step, schedule = int(state.step), self.schedule(task)
        if step <= schedule.end:
            return self._edit(task, schedule, state, step)
        if step % self.recipe.exact_every == 0:
            return refresh(state, implementation=task.backend)
        return state

    def pace(self, task: Task, state: State, progress: float) -> Pace:
        """What to do until then."""
        step, recipe = int(state.step), self.recipe
        exact = step > self.schedule(task).end and step % recipe.exact_every == 0
        return Pace(
            steps=np.int32(min(recipe.split_every - step % recipe.split_every, task.steps - step)),
            total=np.float32(task.steps),
            exact=np.bool_(exact and state.num_sites <= task.budget),
            count=np.int32(self.schedule(task).capacity),
        )

    def run(self, state: State, target: Target, pace: Pace) -> State:
        """Adam steps on lists that are kept."""
        return run_adam(
            state.on_mesh(),
            target,
            pace.steps,
            pace.total,
            rates=self.recipe.rates,
            lists_every=self.recipe.lists_every,
            exact=pace.exact,
            count=pace.count,
        )

    def finish(self, task: Task, state: State) -> tuple[Sites, jax.Array]:
        """The sites to store, and the mean squared error in the last step."""
        # only a run that was cut short has too many
        last = thin(state, task.target, task.image, task.budget)
        last = refresh(last, implementation=task.backend)
        capacity = np.int32(self.schedule(task).capacity)
        once = Pace(np.int32(1), np.float32(task.steps), np.bool_(True), capacity)
        best = self.run(last, task.target, once).best  # a step, to see the last sites, too
        assert best is not None  # of a fit
        found = (best if best.loss < jnp.inf else last).sites.compact()
        return task.frame.leave(found), state.value

    def _edit(self, task: Task, schedule: Schedule, state: State, step: int) -> State:
        """Prunes and splits, and offers the children to the lists of their cells."""
        splits, prunes = schedule.changes(step, state.num_sites)
        if not splits and not prunes:
            return state
        stats = statistics(state.sites, state.lists, task.target)
        stats = fill_holes(stats, state.sites, state.lists)
        state = edit(state, stats, task.image, prunes=prunes, splits=splits)
        return state.replace(lists=offer_at_home(state.sites, state.lists))


def fill_holes(stats: Statistics, sites: Sites, lists: Candidates) -> Statistics:
    """The statistics, with a removal cost also for sites that have pixels to themselves.

    ``statistics`` cannot tell what such a pixel would show without its site, and charges ``HOLE``
    for each. So these sites go last; but of them the one with the fewest pixels would be the first
    to go, such as a small light on a plain ground. Here such a pixel is taken to show the next site
    in the list at the site's own place, and costs the square of the difference in colour.
    """
    ids = np.asarray(whole(lists.at(sites.position), lists.mesh))
    own = np.arange(sites.num_sites)
    color = np.asarray(sites.color, np.float64)
    following = ids[own, np.argmax(ids != own[:, None], axis=1)]
    difference = np.sum((color - color[following]) ** 2, axis=1)
    pixels = stats.removal.astype(np.float64) / HOLE
    filled = HOLE + pixels * difference
    return stats._replace(removal=np.where(pixels > 0.5, filled, stats.removal))


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
