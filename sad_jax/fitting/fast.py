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

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sad_jax.draw.passes import prepare
from sad_jax.fitting.recipe import FastRecipe
from sad_jax.fitting.task import Task
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.exact import find_candidates
from sad_jax.model.sites import Sites
from sad_jax.model.start import init_sites
from sad_jax.optimize.edits import change_sites, keep_slots, refresh, thin
from sad_jax.optimize.gauss_newton import (
    FLOOR,
    SHARPEST,
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
class FastFit:
    """How a fit by a ``FastRecipe`` starts, goes on and ends."""

    recipe: FastRecipe

    @property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """The optax transformation of its steps."""
        recipe = self.recipe
        return scale_by_plane(recipe.trust_region, remember=recipe.remember, blocks=recipe.blocks)

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
            state = change_sites(
                state,
                task.target,
                task.image,
                prunes=prunes,
                moves=moves,
                worth=self.recipe.worth,
            )
        if state.num_sites <= task.budget < state.sites.num_sites:
            state = keep_slots(state, task.budget)  # once: two shapes in all
        return state

    def pace(self, task: Task, step: int, progress: float) -> Pace:
        """How many steps to take on the same lists, int32[], their damping and largest tau / S."""
        recipe = self.recipe
        every = recipe.lists_every if progress < recipe.late else recipe.lists_every_late
        damping = recipe.damping_start * (recipe.damping_end / recipe.damping_start) ** progress
        softest = min(recipe.softest / np.sqrt(task.canvas.pixels / task.budget), SHARPEST)
        sharpest = softest * (SHARPEST / softest) ** min(progress / recipe.soft_end, 1)
        steps = jnp.int32(min(every, task.steps - step))
        return steps, jnp.float32(damping), jnp.float32(sharpest)

    def run(self, state: State, target: Target, steps, damping, sharpest) -> State:
        """``steps`` steps on the same lists, in parts that have one curvature each.

        Under ``jit`` their number is not known; parts that have no step left do nothing.
        """
        known = not isinstance(steps, jax.core.Tracer)
        most = int(steps) if known else max(self.recipe.lists_every, self.recipe.lists_every_late)
        for first in range(0, most, self.recipe.curvature_every):
            some = jnp.clip(steps - first, 0, self.recipe.curvature_every)
            state = run_gauss_newton(
                state, target, some, damping, sharpest, optimizer=self.optimizer
            )
        return state

    def finish(self, task: Task, state: State) -> tuple[Sites, jax.Array]:
        sites = thin(state, task.target, task.image, task.budget).compact()
        lists = find_candidates(sites, task.canvas, implementation=task.backend)
        return solve_colors(sites, lists, task.target, iterations=self.recipe.color_iterations)

    def _changes(self, task: Task, progress: float, step: int, alive: int) -> tuple[int, int]:
        """How many sites to prune, and at most how many to move, now."""
        share = min(progress / self.recipe.thinning_end, 1)
        goal = round(task.initial * (task.budget / task.initial) ** share)
        moves = 0
        if step % self.recipe.moves_every == 0:
            moves = int(self.recipe.moved * max(1 - progress / self.recipe.moves_end, 0) * goal)
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
