"""Recipe "fast": Gauss-Newton on exact lists, thinning from many sites, colours solved last.

It starts with more sites than the budget and removes the cheapest ones, evenly in ratio, over the
first part of the run: where sites are left over is where they are needed. Meanwhile and later, now
and then some of the cheapest sites are taken out and as many of the worst split, where that pays.
Every step is a damped Gauss-Newton step (``gauss_newton.py``); the damping falls geometrically. The
lists are the exact ones, found anew every few steps, so that the fit sees what a decoder will see.

Borders between sites start soft and may sharpen as the run goes on (graduated non-convexity, Blake
and Zisserman 1987). A site with sharp borders sees no error beyond them: if sites sharpen early,
they stay where they are, and it is the sharp ones among them that look too dear to remove.

Last, with geometry and lists frozen, the colours solve their linear least-squares problem.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.draw.passes import prepare
from sad_jax.fitting.recipe import Recipe, Task, change_sites, thin
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.exact import find_candidates
from sad_jax.model.sites import Sites
from sad_jax.model.start import init_sites
from sad_jax.optimize.edits import keep_slots, refresh
from sad_jax.optimize.gauss_newton import (
    FLOOR,
    SHARPEST,
    TRUST_REGION,
    TrustRegion,
    scale_by_plane,
)
from sad_jax.optimize.least_squares import (
    Target,
    color_product,
    color_right_side,
    gradient_sums,
)
from sad_jax.optimize.linear import conjugate_gradients
from sad_jax.optimize.state import State
from sad_jax.optimize.steps import run_gauss_newton

Pace = tuple[jax.Array, jax.Array, jax.Array]  # steps, damping, largest tau / S


@dataclasses.dataclass(frozen=True)
class FastRecipe(Recipe):
    """Gauss-Newton on exact lists, thinning, moves, colours last. Shares are of the run's steps.

    Attributes:
      steps: optimiser steps, unless the ``FitConfig`` says otherwise.
      pixels_per_initial_site: so many pixels have one site at the start ...
      overshoot: ... but there are at most so many times the budget.
      thinning_end: share at which the budget is reached.
      moved: most sites moved at once, as a share of all; it falls to none at ``moves_end``.
      moves_end: share after which no site is moved.
      moves_every: steps between two moves; a multiple of ``lists_every``.
      worth: a site is moved where its removal costs less than so many times the energy of the site
        that is split.
      damping_start, damping_end: of a step, relative to the diagonal of the curvature.
      lists_every: steps on one set of exact lists ...
      lists_every_late: ... and from the share ``late`` on.
      late: see there.
      curvature_every: steps on one curvature; new lists bring a new one, too.
      softest: largest tau / S at the start, times the mean distance of the budget's sites.
      soft_end: share up to which the largest tau / S rises, evenly in ratio, to ``SHARPEST``.
      color_iterations: of conjugate gradients, for the colours at the end; 0 leaves them.
      blocks: whether a site's whole block of the curvature preconditions, or its diagonal alone.
      remember: whether a step may also go along the last one.
      trust_region: how far one step may change a site.

    Example:
      >>> import sad_jax as sad
      >>> recipe = sad.FastRecipe(steps=100, lists_every=2)
      >>> config = sad.FitConfig(num_sites=1000, recipe=recipe)
      >>> sad.FitConfig.from_json(config.to_json()).recipe == recipe
      True
    """

    name: ClassVar[str] = "fast"

    steps: int = 250
    pixels_per_initial_site: int = 6
    overshoot: int = 8
    thinning_end: float = 0.3
    moved: float = 0.15
    moves_end: float = 0.9
    moves_every: int = 30
    worth: float = 3.0
    damping_start: float = 1.0
    damping_end: float = 0.1
    lists_every: int = 5
    lists_every_late: int = 1
    late: float = 0.95
    curvature_every: int = 5
    softest: float = 2.0
    soft_end: float = 0.65
    color_iterations: int = 20
    blocks: bool = True
    remember: bool = True
    trust_region: TrustRegion = TRUST_REGION

    @property
    def optimizer(self):
        """The optax transformation of its steps."""
        return scale_by_plane(self.trust_region, remember=self.remember, blocks=self.blocks)

    def most_initial_sites(self, budget: int) -> int:
        return self.overshoot * budget

    def start(self, task: Task, key: jax.Array) -> State:
        sites = init_sites(task.image, task.initial, key=key)
        return State(
            sites=sites,
            lists=find_candidates(sites, task.canvas, implementation=task.backend),
            optimizer=self.optimizer.init(sites),
            step=jnp.int32(0),
        )

    def advance(self, task: Task, state: State, progress: float) -> State:
        """Density control and new lists where it is time, then the steps up to the next search."""
        step = int(state.step)
        if step:
            state = self.control(task, state, progress)
            state = refresh(state, implementation=task.backend)
        return self.run(state, task.target, *self.pace(task, step, progress))

    def control(self, task: Task, state: State, progress: float) -> State:
        """Prunes and splits as many sites as it is time for; the lists are left as they were."""
        prunes, moves = self._changes(task, progress, int(state.step), state.num_sites)
        if prunes or moves:
            state = change_sites(task, state, prunes=prunes, moves=moves, worth=self.worth)
        if state.num_sites <= task.budget < state.sites.num_sites:
            state = keep_slots(state, task.budget)  # once: two shapes in all
        return state

    def pace(self, task: Task, step: int, progress: float) -> Pace:
        """How many steps to take on the same lists, int32[], their damping and largest tau / S."""
        every = self.lists_every if progress < self.late else self.lists_every_late
        damping = self.damping_start * (self.damping_end / self.damping_start) ** progress
        softest = min(self.softest / np.sqrt(task.canvas.pixels / task.budget), SHARPEST)
        sharpest = softest * (SHARPEST / softest) ** min(progress / self.soft_end, 1)
        steps = jnp.int32(min(every, task.steps - step))
        return steps, jnp.float32(damping), jnp.float32(sharpest)

    def run(self, state: State, target: Target, steps, damping, sharpest) -> State:
        """``steps`` steps on the same lists."""
        for first in range(0, max(self.lists_every, self.lists_every_late), self.curvature_every):
            some = jnp.clip(steps - first, 0, self.curvature_every)
            state = run_gauss_newton(
                state, target, some, damping, sharpest, optimizer=self.optimizer
            )
        return state

    def finish(self, task: Task, state: State) -> tuple[Sites, jax.Array]:
        sites = thin(task, state).compact()
        lists = find_candidates(sites, task.canvas, implementation=task.backend)
        return solve_colors(sites, lists, task.target, iterations=self.color_iterations)

    def _changes(self, task: Task, progress: float, step: int, alive: int) -> tuple[int, int]:
        """How many sites to prune, and at most how many to move, now."""
        share = min(progress / self.thinning_end, 1)
        goal = round(task.initial * (task.budget / task.initial) ** share)
        moves = 0
        if step % self.moves_every == 0:
            moves = int(self.moved * max(1 - progress / self.moves_end, 0) * goal)
        return max(alive - goal, 0), moves


@partial(jax.jit, static_argnames="iterations")
def solve_colors(
    sites: Sites, lists: Candidates, target: Target, *, iterations: int
) -> tuple[Sites, jax.Array]:
    """The colours of least squared error for frozen geometry and lists, within [0, 1].

    Conjugate gradients on W'VW x = W'V (target - picture), each channel for itself, where W holds
    the weights of all pixels; each iteration is a render and its transpose. The change is clipped
    and then scaled to its own optimum, so the error never grows. Also returns what it is then.
    """
    lists = prepare(target.backend, lists)
    right = color_right_side(sites, lists, target)
    residual, diagonal = right[:-1], right[-1] + FLOOR

    def product(colors):
        return color_product(sites, lists, target, colors) + FLOOR * colors

    def inner(a, b):
        return jnp.sum(a * b, 1, keepdims=True)

    solution = conjugate_gradients(product, lambda r: r / diagonal, residual, iterations, inner)
    change = jnp.clip(sites.color.T + solution, 0, 1) - sites.color.T
    length = inner(change, residual) / jnp.maximum(inner(change, product(change)), 1e-30)
    solved = sites.replace(color=sites.color + (jnp.clip(length, 0, 1) * change).T)
    return solved, gradient_sums(solved, lists, target)[0]
