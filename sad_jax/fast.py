"""Recipe "fast": Gauss-Newton on exact lists, thinning from many sites, colours solved last.

It starts with more sites than the budget and removes the cheapest ones in stages, evenly in ratio,
over the first part of the run; a pass over the picture costs the same for any number of sites, so
this is free, and it decides where sites end up. Every step is a damped Gauss-Newton step
(``gauss_newton.py``); the damping falls geometrically. The lists are the exact ones, found anew
every few steps and, at the end, at every step, so that the fit sees what a decoder will see.
Last, with geometry and lists frozen, the colours solve their linear least-squares problem.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.gauss_newton import FLOOR, Blocks, conjugate_gradients
from sad_jax.init import init_sites
from sad_jax.losses import Target, color_product, color_right_side
from sad_jax.recipe import Recipe
from sad_jax.search import find_candidates
from sad_jax.sites import Sites
from sad_jax.train import FitState, step_gauss_newton

STEPS = 100
THINNING_END = 0.6  # of the run: the budget is reached
STAGES = 12
DAMPING = (1.0, 0.1)  # at the start and at the end
ITERATIONS = 5  # of conjugate gradients a step
BLOCKS_EVERY = 3  # steps at which the preconditioner is computed, besides those with new lists
LISTS_EVERY = 2  # steps between two searches of the lists,
EAGER_LISTS = (0.1, 0.9)  # but at every step before and after these parts of the run
COLOR_ITERATIONS = 20


class FastRecipe(Recipe):
    """Gauss-Newton, thinning, colours last."""

    default_steps = STEPS

    def start(self, key: jax.Array) -> FitState:
        sites = init_sites(self.image, self.initial, key=key)
        n, channels = self.initial, sites.channels
        return FitState(
            sites=sites,
            alive=jnp.ones(n, bool),
            lists=find_candidates(sites, self.canvas),
            optimizer=Blocks(jnp.zeros((6, 6, n)), jnp.zeros((6, channels, n)), jnp.zeros(n)),
            step=jnp.int32(0),
            key=key,
            mse=jnp.float32(jnp.nan),
        )

    def advance(self, state: FitState, progress: float) -> FitState:
        """One step, thinning and searching lists before it where it is time."""
        step = int(state.step)
        current = self.thin(state, self._goal(progress))
        eager = not EAGER_LISTS[0] <= progress < EAGER_LISTS[1]
        if step and current is state and (eager or step % LISTS_EVERY == 0):
            current = state.replace(lists=find_candidates(state.sites, self.canvas))
        return step_gauss_newton(
            current,
            self.target,
            jnp.float32(DAMPING[0] * (DAMPING[1] / DAMPING[0]) ** progress),
            iterations=ITERATIONS,
            new_blocks=current is not state or step % BLOCKS_EVERY == 0,
        )

    def finish(self, state: FitState) -> Sites:
        state = self.thin(state, self.budget)
        alive = np.flatnonzero(np.asarray(state.alive))
        sites = jax.tree.map(lambda a: a[alive], state.sites)
        lists = find_candidates(sites, self.canvas)
        return solve_colors(lists.grid, sites, lists.ids, self.target)

    def _goal(self, progress: float) -> int:
        """How many sites there may be now."""
        stage = min(int(progress / THINNING_END * STAGES), STAGES) / STAGES
        return round(self.initial * (self.budget / self.initial) ** stage)


@partial(jax.jit, static_argnums=0)
def solve_colors(grid, sites: Sites, ids: jax.Array, target: Target) -> Sites:
    """The colours of least squared error for frozen geometry and lists, within [0, 1].

    Conjugate gradients on W'VW x = W'V (target - picture), each channel for itself, where W holds
    the weights of all pixels; each iteration is a render and its transpose. The change is clipped
    and then scaled to its own optimum, so the error never grows.
    """
    right = color_right_side(grid, sites, ids, target)
    residual, diagonal = right[:-1], right[-1] + FLOOR

    def product(colors):
        return color_product(grid, sites, ids, target, colors) + FLOOR * colors

    def inner(a, b):
        return jnp.sum(a * b, 1, keepdims=True)

    solution = conjugate_gradients(
        product, lambda r: r / diagonal, residual, COLOR_ITERATIONS, inner
    )
    change = jnp.clip(sites.color.T + solution, 0, 1) - sites.color.T
    length = inner(change, residual) / jnp.maximum(inner(change, product(change)), 1e-30)
    return sites.replace(color=sites.color + (jnp.clip(length, 0, 1) * change).T)
