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

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax import density
from sad_jax.cells import Grid
from sad_jax.gauss_newton import FLOOR, SHARPEST, conjugate_gradients, no_step
from sad_jax.init import init_sites
from sad_jax.losses import Target, color_product, color_right_side, gradient_sums
from sad_jax.passes import make_ready
from sad_jax.recipe import Recipe
from sad_jax.sites import Sites
from sad_jax.train import FitState, run_gauss_newton

STEPS = 250
OVERSHOOT = 8  # most sites at the start, in budgets
THINNING_END = 0.3  # of the run: the budget is reached
MOVED, MOVES_END = 0.15, 0.9  # most sites moved at once, a share that falls to none there
MOVES_EVERY = 30  # steps
DAMPING = (1.0, 0.1)  # at the start and at the end
LISTS_EVERY = 5  # steps between two searches of the lists,
LATE, LISTS_EVERY_LATE = 0.95, 1  # and from this part of the run on
COLOR_ITERATIONS = 20
SOFTEST = 2.0  # largest tau / S at the start, over the mean distance of the budget's sites
SOFT_END = 0.65  # of the run: up to here the largest rises to SHARPEST, evenly in ratio


class FastRecipe(Recipe):
    """Gauss-Newton, thinning, moves, colours last."""

    default_steps = STEPS
    pixels_per_initial_site = 6

    def most_initial_sites(self) -> int:
        return OVERSHOOT * self.budget

    def start(self, key: jax.Array) -> FitState:
        sites = init_sites(self.image, self.initial, key=key)
        return FitState(
            sites=sites,
            alive=jnp.ones(self.initial, bool),
            lists=self.exact_lists(sites),
            optimizer=no_step(sites),
            step=jnp.int32(0),
            key=key,
            mse=jnp.float32(jnp.nan),
        )

    def advance(self, state: FitState, progress: float) -> FitState:
        """Density control and new lists where it is time, then the steps up to the next search."""
        step = int(state.step)
        if step:
            state = self.search(self.control(state, progress))
        return run_gauss_newton(state, self.target, *self.pace(step, progress))

    def control(self, state: FitState, progress: float) -> FitState:
        """Prunes and splits as many sites as it is time for; the lists are left as they were."""
        prunes, moves = self._changes(progress, int(state.step), state.num_alive)
        changes = prunes or moves
        return self._compact(self.edit(state, prunes, 0, moves) if changes else state)

    def pace(self, step: int, progress: float) -> tuple[jax.Array, jax.Array, jax.Array]:
        """How many steps to take on the same lists, int32[], their damping and largest tau / S."""
        every = LISTS_EVERY if progress < LATE else LISTS_EVERY_LATE
        damping = DAMPING[0] * (DAMPING[1] / DAMPING[0]) ** progress
        softest = min(SOFTEST / np.sqrt(self.canvas[0] * self.canvas[1] / self.budget), SHARPEST)
        sharpest = softest * (SHARPEST / softest) ** min(progress / SOFT_END, 1)
        steps = jnp.int32(min(every, self.steps - step))
        return steps, jnp.float32(damping), jnp.float32(sharpest)

    def finish(self, state: FitState) -> tuple[Sites, jax.Array]:
        state = self.thin(state, self.budget)
        alive = np.flatnonzero(state.alive)
        sites = jax.tree.map(lambda a: a[alive], state.sites)
        lists = self.exact_lists(sites)
        return solve_colors(lists.grid, sites, lists.ids, self.target)

    def _changes(self, progress: float, step: int, alive: int) -> tuple[int, int]:
        """How many sites to prune, and at most how many to move, now."""
        share = min(progress / THINNING_END, 1)
        goal = round(self.initial * (self.budget / self.initial) ** share)
        moves = 0
        if step % MOVES_EVERY == 0:
            moves = int(MOVED * max(1 - progress / MOVES_END, 0) * goal)
        return max(alive - goal, 0), moves

    def _compact(self, state: FitState) -> FitState:
        """Keeps as many slots as the budget once it is reached: two shapes in all."""
        if state.num_alive > self.budget or len(state.alive) == self.budget:
            return state
        kept = np.sort(np.argsort(~np.asarray(state.alive), kind="stable")[: self.budget])
        return state.replace(
            sites=jax.tree.map(lambda a: a[kept], state.sites),
            alive=state.alive[kept],
            optimizer=density.keep_rows(state.optimizer, kept, len(state.alive)),
        )


@partial(jax.jit, static_argnums=0)
def solve_colors(
    grid: Grid, sites: Sites, ids: jax.Array, target: Target
) -> tuple[Sites, jax.Array]:
    """The colours of least squared error for frozen geometry and lists, within [0, 1].

    Conjugate gradients on W'VW x = W'V (target - picture), each channel for itself, where W holds
    the weights of all pixels; each iteration is a render and its transpose. The change is clipped
    and then scaled to its own optimum, so the error never grows. Also returns what it is then.
    """
    lists = make_ready(ids, sites, target.implementation, target.deterministic)
    right = color_right_side(grid, sites, lists, target)
    residual, diagonal = right[:-1], right[-1] + FLOOR

    def product(colors):
        return color_product(grid, sites, lists, target, colors) + FLOOR * colors

    def inner(a, b):
        return jnp.sum(a * b, 1, keepdims=True)

    solution = conjugate_gradients(
        product, lambda r: r / diagonal, residual, COLOR_ITERATIONS, inner
    )
    change = jnp.clip(sites.color.T + solution, 0, 1) - sites.color.T
    length = inner(change, residual) / jnp.maximum(inner(change, product(change)), 1e-30)
    solved = sites.replace(color=sites.color + (jnp.clip(length, 0, 1) * change).T)
    return solved, gradient_sums(grid, solved, lists, target)[0]
