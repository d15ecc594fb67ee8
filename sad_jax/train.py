"""The state of a fit and its jitted inner loop."""

from __future__ import annotations

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import optax

from sad_jax.candidates import Candidates, propagate
from sad_jax.gauss_newton import (
    SHARPEST,
    Momentum,
    as_updates,
    from_tangent,
    make_blocks,
    scale_by_gauss_newton,
)
from sad_jax.losses import (
    Target,
    change_of_picture,
    gradient,
    gradient_and_curvature,
    gradient_sums,
)
from sad_jax.optim import paper_optimizer
from sad_jax.passes import Lists, Order, make_ready
from sad_jax.score import to_tangent
from sad_jax.sites import Sites, clamp

LIST_EVERY = 8  # optimiser steps between two propagation passes


class FitState(flax.struct.PyTreeNode):
    """Everything that a fit carries from step to step.

    Attributes:
      sites: as many as there is capacity; free slots hold parked sites.
      alive: bool[N], which slots hold a site of the picture.
      lists: the lists of the cells.
      optimizer: the optax state.
      step: int32[], steps done.
      key: the random key of the steps to come.
      mse: float[], mean squared error before the last step.
    """

    sites: Sites
    alive: jax.Array
    lists: Candidates
    optimizer: optax.OptState
    step: jax.Array
    key: jax.Array
    mse: jax.Array

    @property
    def num_alive(self) -> int:
        """Sites in the picture (waits for the device)."""
        return int(jnp.sum(self.alive))


@jax.jit
def run_adam(state: FitState, target: Target, steps: jax.Array, total: jax.Array) -> FitState:
    """``steps`` steps of the published recipe, of ``total`` in all."""
    optimizer = paper_optimizer()

    def order(lists: Candidates) -> Order:
        ready = make_ready(lists.ids, state.sites, target.implementation, target.deterministic)
        return ready.order

    def step(_, carry: tuple[FitState, Order]) -> tuple[FitState, Order]:
        state, known = carry
        grid, key = state.lists.grid, jax.random.fold_in(state.key, state.step)

        def renewed() -> tuple[Candidates, Order]:
            lists = propagate(
                state.lists, state.sites, key=key, implementation=target.implementation
            )
            return lists, order(lists)

        ids = Lists(state.lists.ids, known)
        mse, gradients = gradient(grid, state.sites, ids, target)
        lists, known = jax.lax.cond(
            state.step % LIST_EVERY == 0, renewed, lambda: (state.lists, known)
        )
        updates, optimizer_state = optimizer.update(
            gradients,
            state.optimizer,
            state.sites,
            neighbours=home_lists(state.lists, state.sites),
            progress=state.step / total,
        )
        sites = optax.apply_updates(state.sites, updates)
        state = state.replace(
            sites=clamp(sites, (grid.height, grid.width)),
            lists=lists,
            optimizer=optimizer_state,
            step=state.step + 1,
            mse=mse,
        )
        return state, known

    return jax.lax.fori_loop(0, steps, step, (state, order(state.lists)))[0]


@jax.jit
def run_gauss_newton(
    state: FitState,
    target: Target,
    steps: jax.Array,
    damping: jax.Array,
    sharpest: jax.Array | float = SHARPEST,
) -> FitState:
    """``steps`` Gauss-Newton steps on fixed lists, with the curvature of the first one.

    ``sharpest``: no site leaves a step with a larger tau / S, in 1 / pixels.
    ``state.optimizer`` is the last step; what it does to the picture depends on the lists, too.
    """
    grid, start = state.lists.grid, state.sites
    ids = make_ready(state.lists.ids, start, target.implementation, target.deterministic)
    optimizer = scale_by_gauss_newton(grid)
    largest = jnp.log(sharpest * grid.size)

    def push(sites: Sites, tangent: jax.Array) -> jax.Array:
        vector = from_tangent(sites, grid.size, tangent)
        return change_of_picture(grid, sites, ids, target, vector)

    def step(i, carry):
        sites, momentum, mse, sums = carry
        tangent, momentum = optimizer.update(
            to_tangent(sites, grid.size, sums),
            momentum,
            blocks=blocks,
            push=partial(push, sites),
            damping=damping,
        )
        moved = optax.apply_updates(sites, as_updates(sites, tangent))
        moved = moved.replace(log_tau=jnp.minimum(moved.log_tau, largest))
        moved = clamp(moved, (grid.height, grid.width))
        ahead = jax.lax.cond(
            i + 1 < steps,
            lambda: gradient_sums(grid, moved, ids, target),
            lambda: (mse, sums),
        )
        return moved, momentum, *ahead

    mse, sums, curvature = gradient_and_curvature(grid, start, ids, target)
    blocks = make_blocks(start, grid.size, curvature)
    momentum = Momentum(state.optimizer, push(start, state.optimizer.T))
    sites, momentum, mse, _ = jax.lax.fori_loop(0, steps, step, (start, momentum, mse, sums))
    return state.replace(sites=sites, optimizer=momentum.step, step=state.step + steps, mse=mse)


def home_lists(lists: Candidates, sites: Sites) -> jax.Array:
    """int32[N, K]: the list of the cell on which each site stands."""
    column, row = lists.grid.cell_of(sites.position)
    return lists.ids[row, column]
