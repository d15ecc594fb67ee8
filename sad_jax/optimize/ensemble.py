"""Ensembles: a minimisation from several starts at once, the mean of their pictures, its spread.

Sites that an ill-posed problem leaves free end elsewhere from each start. The mean of the pictures
is nearer to the truth than most of them, and where they differ, the data do not decide.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sad_jax.draw.api import render
from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.optimize.bar import Report, reporter
from sad_jax.optimize.edits import refresh
from sad_jax.optimize.loop import (
    Loss,
    check_on_host,
    make_state,
    reach,
    remembered_step,
    site_counts,
    site_goal,
    usual_optimizer,
)
from sad_jax.optimize.stacks import batch_mesh, side_by_side, stack, unstack
from sad_jax.optimize.state import Progress, State
from sad_jax.pytree import PyTree
from sad_jax.transferring import transferring


class Ensemble(PyTree):
    """What R starts have come to.

    Attributes:
      states: a State with a leading axis of R members; ``jax.tree.map(lambda a: a[i], states)`` is
        one of them.
      pictures: float[R, H, W, C].
      losses: float[R], NaN for a member whose numbers became so; means leave it out.
    """

    states: State
    pictures: Float[Array, "R H W C"]
    losses: Float[Array, " R"]

    @property
    def mean(self) -> Float[Array, "H W C"]:
        """The mean picture, of the members whose loss is a number."""
        return jnp.mean(self._pictures(), axis=0, where=self._counts())

    @property
    def std(self) -> Float[Array, "H W C"]:
        """The standard deviation of the same pictures, with R - 1 in the denominator."""
        return jnp.std(self._pictures(), axis=0, ddof=1, where=self._counts())

    @property
    def best(self) -> State:
        """The member of least loss."""
        return jax.tree.map(lambda leaf: leaf[jnp.nanargmin(self.losses)], self.states)

    def _counts(self) -> jax.Array:
        return jnp.isfinite(self.losses)[:, None, None, None]

    def _pictures(self) -> jax.Array:
        return jnp.where(self._counts(), self.pictures, 0)


@transferring
def minimize_ensemble(
    loss: Loss,
    starts: Sites,
    canvas: Canvas | tuple[int, int],
    *data: Any,
    steps: int = 400,
    num_sites: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    params: Any = None,
    params_optimizer: optax.GradientTransformation | None = None,
    color_range: tuple[float, float] | None = None,
    refresh_every: int = 5,
    progress: Report | bool | None = None,
) -> Ensemble:
    """``minimize`` from several starts at once: one step for all, over the local devices.

    Each member comes out as ``minimize`` of its start does, up to rounding.

    Args:
      loss: that of ``minimize``.
      starts: Sites with a leading axis of R >= 1 members, such as
        ``jax.vmap(lambda key: sad.init_sites(image, N, key=key))(jax.random.split(key, R))``.
      canvas: as for ``minimize``, as are those of which nothing else is said.
      *data: what the loss takes besides the picture and the params.
      steps: of every member.
      num_sites: that each member ends with; None for as many as it starts with.
      optimizer: each member has its own state.
      params: the start of the unknowns beside the sites, which each member moves on its own.
      params_optimizer: of the params.
      color_range: of every member.
      refresh_every: steps between two searches.
      progress: called with a ``Progress`` of the stacked states after every step.

    Returns:
      An ``Ensemble``.

    Raises:
      ValueError: starts without a leading axis; no member with a finite loss; what ``minimize``
        refuses.

    Warns:
      RuntimeWarning: of members whose numbers are not finite.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> gray, keys = jnp.full((8, 12, 1), 0.5), jax.random.split(jax.random.key(0), 3)
      >>> starts = jax.vmap(lambda key: sad.init_sites(gray, 6, key=key))(keys)
      >>> loss = lambda image: jnp.mean((jnp.mean(image, 0) - 0.25) ** 2)  # its columns' means
      >>> found = sad.minimize_ensemble(loss, starts, (8, 12), steps=20)
      >>> found.losses.shape, bool(jnp.abs(found.mean - 0.25).max() < 0.1)
      ((3,), True)
    """
    if not isinstance(starts, Sites) or np.ndim(starts.position) != 3 or not len(starts.position):
        raise ValueError(f"expected Sites with a leading axis of members, got {describe(starts)}")
    check_on_host("minimize_ensemble", starts, params, data)
    report = reporter(progress, lambda now: f"loss {np.nanmin(now.value):.4g} at best")
    optimizer = usual_optimizer(steps) if optimizer is None else optimizer
    members = unstack(starts)
    goal = site_goal(members[0], num_sites)
    options = {"capacity": goal, "params": params, "params_optimizer": params_optimizer}
    states = [make_state(member, canvas, optimizer, **options) for member in members]
    mesh = batch_mesh(len(members))
    kinds = optimizer, params_optimizer
    step = remembered_step(loss, render, color_range, *kinds, mesh=mesh, shared=len(data))
    counts, together = site_counts(states[0], goal, steps, render), stack(states, mesh)
    search, begin = _search_over(mesh), time.monotonic()
    for i in range(steps):
        if i in counts:
            states = unstack(together)
            states = [reach(s, loss, counts[i], *data, draw=render) for s in states]
            together = stack(states, mesh)
        elif i and i % refresh_every == 0:
            together = search(together)
        together, _ = step(together, *data)
        report(Progress(i + 1, steps, time.monotonic() - begin, together))
    together = search(together)
    pictures = jnp.stack([render(state.sites, state.lists) for state in unstack(together)])
    told = () if params is None else (together.params,)
    value = jax.jit(jax.vmap(loss, in_axes=(0,) * (1 + len(told)) + (None,) * len(data)))
    losses = np.asarray(value(pictures, *told, *data))
    if lost := int(np.sum(~np.isfinite(losses))):
        words = f"expected finite losses, got {lost} of {len(losses)} that are not"
        if lost == len(losses):
            raise ValueError(f"{words}; lower the optimizer's rates, or mend the loss")
        warnings.warn(f"{words}; they are left out of the mean", RuntimeWarning, stacklevel=2)
    return Ensemble(together, pictures, jnp.where(jnp.isfinite(losses), losses, jnp.nan))


@functools.cache
def _search_over(mesh: Mesh) -> Callable:
    """``refresh`` of stacked states, the same object every time, so that it is compiled once."""
    return jax.jit(side_by_side(refresh, mesh, shared=0))
