"""The jitted inner loops of a fit: several steps of one recipe at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from sad_jax.broadcasting import broadcasting
from sad_jax.draw.passes import prepare
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.flooding import update
from sad_jax.model.sites import Sites, clamp_to
from sad_jax.model.tangent import GEOMETRY, TAU, as_updates, from_tangent, only_free, to_tangent
from sad_jax.optimize.adam import Rates, paper_optimizer
from sad_jax.optimize.gauss_newton import SHARPEST, curvature_in_tangents
from sad_jax.optimize.least_squares import (
    Target,
    change_of_picture,
    gradient,
    gradient_and_curvature,
    gradient_sums,
)
from sad_jax.optimize.state import State


@partial(jax.jit, static_argnames=("rates", "lists_every"))
@broadcasting
def run_adam(
    state: State,
    target: Target,
    steps: jax.Array,
    total: jax.Array,
    *,
    rates: Rates,
    lists_every: int,
    exact: jax.Array | bool = False,
    count: jax.Array | int | None = None,
) -> State:
    """``steps`` steps of the published recipe, of ``total`` in all.

    Args:
      state: of a fit, with ``paper_optimizer``'s state.
      target: the picture.
      steps: int32[].
      total: float[].
      rates: of the optimiser.
      lists_every: steps between two propagation passes.
      exact: bool[], whether the lists are exact and the sites few enough to be the best.
      count: of the first slots, from which random sites are offered to the lists; all of them,
        unless there are more in a padded frame.
    """
    last = jnp.round(target.corner).astype(jnp.int32) // state.lists.grid.cell
    slots = jnp.int32(state.sites.num_sites if count is None else count)
    optimizer = paper_optimizer(rates)

    def step(i, state: State) -> State:
        assert state.key is not None  # propagation is random
        key = jax.random.fold_in(state.key, state.step)

        def renewed() -> Candidates:
            sites = jax.lax.stop_gradient(state.sites)
            lists = update(target.backend, 0.0, sites, state.lists, key, slots, last)
            return prepare(target.backend, state.sites, lists)

        errors, gradients = gradient(state.sites, state.lists, target)
        best = state.best
        if best is not None:
            best = best.or_else(state.sites, errors.loss, exact & (i == 0))
        lists = jax.lax.cond(state.step % lists_every == 0, renewed, lambda: state.lists)
        updates, optimizer_state = optimizer.update(
            gradients,
            state.optimizer,
            state.sites,
            neighbours=state.lists.at(state.sites.position),
            progress=state.step / total,
        )
        sites = optax.apply_updates(state.sites, updates)
        return state.replace(
            sites=clamp_to(sites, target.corner),
            lists=lists,
            optimizer=optimizer_state,
            step=state.step + 1,
            value=errors.mse,
            best=best,
        )

    prepared = state.replace(lists=prepare(target.backend, state.sites, state.lists))
    done = jax.lax.fori_loop(0, steps, step, prepared)
    return done.replace(lists=done.lists.replace(prepared=None))


def run_gauss_newton(
    state: State,
    target: Target,
    steps: int | jax.Array,
    damping: float | jax.Array,
    sharpest: float | jax.Array = SHARPEST,
    exact: bool | jax.Array = False,
    free: ArrayLike | None = None,
    count: int | jax.Array | None = None,
    test_last: bool | jax.Array = False,
    *,
    optimizer: optax.GradientTransformationExtraArgs,
) -> State:
    """``steps`` Gauss-Newton steps on fixed lists, with the curvature of the first one.

    A step after which the loss is larger is taken back. To see that costs nothing where the next
    step needs the gradient there anyway; the last step on these lists is only tested if it is the
    first, too, if a step before it has failed, or if that is asked for.

    Args:
      state: with a ``LastStep`` as its optimiser state.
      target: the picture.
      steps: int32[].
      damping: float[], see ``gauss_newton.py``.
      sharpest: no site leaves a step with a larger tau / S, in 1 / pixels.
      exact: bool[], whether the lists are exact and the sites few enough to be the best.
      free: float[6 + C, N], in the order of a tangent, 1 for what may move and 0 for what stays
        as it is to the last bit; None for all.
      count: by which the loss is divided for that of a mean site; the number of slots, unless there
        are more of them in a padded frame.
      test_last: bool[], whether the last step is tested in any case.
      optimizer: ``scale_by_plane`` with its options.
    """
    if free is None:
        free = np.ones((GEOMETRY + state.sites.channels, state.sites.num_sites))
    dtype = state.sites.color.dtype

    def known(value: ArrayLike, kind: Any) -> Any:
        """Of one type, so that there is one program; by numpy, as JAX takes 0.2 ms for a number."""
        return value.astype(kind) if isinstance(value, jax.Array) else np.asarray(value, kind)

    changed = _gauss_newton(
        state.on_mesh(),
        target,
        known(steps, np.int32),
        known(damping, dtype),
        known(sharpest, dtype),
        known(exact, np.bool_),
        known(free, dtype),
        known(state.sites.num_sites if count is None else count, np.int32),
        known(test_last, np.bool_),
        optimizer=optimizer,
    )
    return state.replace(**changed)


@partial(jax.jit, static_argnames="optimizer")
@broadcasting
def _gauss_newton(
    state: State,
    target: Target,
    steps: jax.Array,
    damping: jax.Array,
    sharpest: jax.Array,
    exact: jax.Array,
    free: jax.Array,
    count: jax.Array,
    test_last: jax.Array,
    *,
    optimizer: optax.GradientTransformationExtraArgs,
) -> dict[str, Any]:
    """What changes of the state: lists that were handed back would be copied."""
    start, size = state.sites, state.lists.grid.size
    lists = prepare(target.backend, start, state.lists)
    largest = jnp.log(sharpest * size)

    def push(sites: Sites, *tangents: jax.Array) -> list[jax.Array]:
        vectors = jnp.concatenate([from_tangent(sites, size, tangent) for tangent in tangents])
        changes = change_of_picture(sites, lists, target, vectors)
        return jnp.split(changes, len(tangents), axis=2)

    def step(i, carry):
        sites, last, errors, sums, _ = carry
        tangent, fresh = optimizer.update(
            to_tangent(sites, size, sums) * free,
            last,
            curvature=curvature,
            push=partial(push, sites),
            damping=damping,
            backend=target.backend,
        )
        moved = optax.apply_updates(sites, as_updates(sites, tangent))
        moved = moved.replace(log_tau=jnp.minimum(moved.log_tau, largest))
        moved = only_free(clamp_to(moved, target.corner), sites, free)
        tested = (i + 1 < steps) | (steps == 1) | (jnp.min(last.caution) > 1) | test_last
        ahead = jax.lax.cond(
            tested, lambda: gradient_sums(moved, lists, target), lambda: (errors, sums)
        )
        too_sharp = jnp.any((sites.log_tau > largest) & (free[TAU] > 0))
        good = too_sharp | (ahead[0].loss <= errors.loss)  # to soften sites may raise the loss
        worked = fresh.worked(errors, ahead[0], count)
        kept = moved, jax.tree.map(partial(jnp.where, tested), worked, fresh), *ahead
        back = sites, fresh.failed(), errors, sums
        return *jax.lax.cond(good, lambda: kept, lambda: back), errors.mse

    errors, sums, curvature = gradient_and_curvature(start, lists, target)
    best = None if state.best is None else state.best.or_else(start, errors.loss, exact)
    curvature = curvature_in_tangents(start, size, curvature, target.backend).of_free(free)
    last = state.optimizer.on_new_lists(free)
    carry = start, last, errors, sums, errors.mse
    sites, last, _, _, before = jax.lax.fori_loop(0, steps, step, carry)
    return {
        "sites": sites,
        "optimizer": last.before_new_lists(),
        "step": state.step + steps,
        "value": before,
        "best": best,
    }
