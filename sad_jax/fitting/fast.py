"""Recipe "fast": Gauss-Newton on exact lists, thinning from many sites, colours solved last.

It starts with more sites than the budget and removes the cheapest ones, evenly in ratio, over the
first part of the run: where sites are left over is where they are needed. Meanwhile and later, now
and then some of the cheapest sites are taken out and as many of the worst split, where that pays.
Every step is a damped Gauss-Newton step (``gauss_newton.py``); the damping falls geometrically. The
lists are the exact ones, found anew every few steps, so that the fit sees what a decoder will see.
Shorter lists do for the first part of the run: they are cheaper.

Borders between sites start soft and may sharpen as the run goes on (graduated non-convexity, Blake
and Zisserman 1987). A site with sharp borders sees no error beyond them: if sites sharpen early,
they stay where they are, and it is the sharp ones among them that look too dear to remove.

Last, with geometry and lists frozen, the colours solve their linear least-squares problem; if the
fit has seen a better picture on the way, within the budget and on exact lists, those of its sites.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sad_jax.fitting.recipe import FastRecipe
from sad_jax.fitting.task import Task, exact_lists
from sad_jax.lists.candidates import unknown_lists
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites, pad
from sad_jax.optimize.colors import solve_colors
from sad_jax.optimize.edits import change_sites, keep_slots, refresh, thin
from sad_jax.optimize.gauss_newton import SHARPEST, scale_by_plane
from sad_jax.optimize.least_squares import Errors, Target
from sad_jax.optimize.rows import find_rows
from sad_jax.optimize.state import Best, State
from sad_jax.optimize.steps import run_gauss_newton


class Pace(NamedTuple):
    """How a fit goes on until the next search: numbers on the host, or traced.

    ``steps``: int32[], on the same lists; ``damping``; ``sharpest``: largest tau / S; ``enough``:
    bool[], whether there are no more sites than the budget and the lists are a decoder's: then the
    sites may be the best; ``count``: slots, without those of a padded frame.
    """

    steps: Any
    damping: Any
    sharpest: Any
    enough: Any
    count: Any


@dataclasses.dataclass(frozen=True)
class FastFit:
    """How a fit by a ``FastRecipe`` starts, goes on and ends."""

    recipe: FastRecipe

    @property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """The optax transformation of its steps."""
        recipe = self.recipe
        return scale_by_plane(
            recipe.trust_region,
            use_last_step=recipe.use_last_step,
            blocks=recipe.blocks,
            measured_every=recipe.measured_every,
        )

    def start(self, task: Task, key: jax.Array) -> State:
        sites = task.start(key, task.initial)
        return State(
            sites=sites,
            lists=exact_lists(task, sites, self.canvas(task, 0)),
            optimizer=jax.jit(self.optimizer.init)(sites),
            step=jax.device_put(np.int32(0)),
            rows=find_rows(self.optimizer, sites),
            best=Best.none_yet(sites),
        )

    def shapes(self, task: Task) -> tuple:
        """What states have alike that can be stacked."""
        return task.shapes(task.initial, task.budget)

    def advance(self, task: Task, state: State, progress: float) -> State:
        """Density control and new lists where it is time, then the steps up to the next search."""
        if int(state.step):
            state = self.control(task, state, progress)
            state = refresh(state, implementation=task.backend)
        return self.run(state, task.target, self.pace(task, state, progress))

    def together(self, state: State, target: Target, pace: Pace) -> State:
        """New lists and the steps on them, of one of many pictures."""
        return self.run(refresh(state, implementation=target.backend), target, pace)

    def canvas(self, task: Task, progress: float) -> Canvas:
        """The picture's canvas, or one of shorter lists."""
        canvas, early = task.frame.canvas, progress < self.recipe.early_k_end
        return Canvas.of(canvas, k=min(self.recipe.early_k, canvas.k)) if early else canvas

    def control(self, task: Task, state: State, progress: float) -> State:
        """Prunes and splits as many sites as it is time for; ``refresh`` must follow."""
        prunes, moves = self._changes(task, progress, int(state.step), state.num_sites)
        if prunes or moves:
            state = change_sites(
                state,
                task.target,
                task.image,
                prunes=prunes,
                moves=moves,
                worth=self.recipe.worth,
            )
        canvas, slots = self.canvas(task, progress), task.frame.slots(task.budget)
        whole = canvas == task.frame.canvas
        if whole and state.num_sites <= task.budget and slots < state.sites.num_sites:
            state = keep_slots(state, slots)  # once, with the longer lists: two shapes in all
            state = state.replace(best=Best.none_yet(state.sites))
        if state.lists.canvas != canvas:
            state = state.replace(lists=unknown_lists(canvas, state.sites, task.mesh))
        return state

    def pace(self, task: Task, state: State, progress: float) -> Pace:
        """What to do until the next search."""
        recipe = self.recipe
        every = recipe.lists_every if progress < recipe.late else recipe.lists_every_late
        damping = recipe.damping_start * (recipe.damping_end / recipe.damping_start) ** progress
        whole = self.canvas(task, progress) == task.frame.canvas
        softest = min(recipe.softest / np.sqrt(task.canvas.pixels / task.budget), SHARPEST)
        sharpest = softest * (SHARPEST / softest) ** min(progress / recipe.soft_end, 1)
        enough = whole and state.num_sites <= task.budget
        return Pace(
            steps=np.int32(min(every, task.steps - int(state.step))),
            damping=np.float32(damping),
            sharpest=np.float32(sharpest),
            enough=np.bool_(enough),
            count=np.int32(task.budget if enough else task.initial),
        )

    def run(self, state: State, target: Target, pace: Pace) -> State:
        """Steps on the same lists, in parts that have one curvature each."""

        def part(state: State, some: Any, exact: Any) -> State:
            numbers, options = (some, pace.damping, pace.sharpest, exact), {"count": pace.count}
            return run_gauss_newton(state, target, *numbers, **options, optimizer=self.optimizer)

        every = self.recipe.curvature_every
        traced = isinstance(pace.steps, jax.core.Tracer)  # in a batch, which is jitted
        most = max(self.recipe.lists_every, self.recipe.lists_every_late)
        for first in range(0, most if traced else int(pace.steps), every):
            left = pace.steps - first
            some = jnp.clip(left, 0, every) if traced else np.int32(min(left, every))
            exact = pace.enough & (first == 0)  # lists are those of the first part's sites
            if first and traced:  # no step may be left
                state = jax.lax.cond(some > 0, part, lambda s, *_: s, state, some, exact)
            else:
                state = part(state, some, exact)
        return state

    def finish(self, task: Task, state: State) -> tuple[Sites, jax.Array]:
        """The sites to store, and the mean squared error of their picture."""
        best = state.best
        assert best is not None  # of a fit
        last = thin(state, task.target, task.image, task.budget).compact()
        sites, errors = self._solve_colors(task, last)
        known, last_loss = jax.device_get((best.loss, errors.loss))
        if known < np.inf and not last_loss <= known:
            sites, errors = self._solve_colors(task, best.sites.compact())
        return task.frame.leave(sites), errors.mse

    def _solve_colors(self, task: Task, sites: Sites) -> tuple[Sites, Errors]:
        slots = task.frame.slots(sites.num_sites)
        sites = pad(sites, slots) if slots > sites.num_sites else sites
        lists = exact_lists(task, sites)
        return solve_colors(sites, lists, task.target, iterations=self.recipe.color_iterations)

    def _changes(self, task: Task, progress: float, step: int, alive: int) -> tuple[int, int]:
        """How many sites to prune, and at most how many to move, now."""
        share = min(progress / self.recipe.thinning_end, 1)
        goal = round(task.initial * (task.budget / task.initial) ** share)
        moves = 0
        if step % self.recipe.moves_every == 0:
            moves = int(self.recipe.moved * max(1 - progress / self.recipe.moves_end, 0) * goal)
        return max(alive - goal, 0), moves
