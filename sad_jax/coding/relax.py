"""Gauss-Newton on the fields that are still free, while the others keep their rounded values."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sad_jax.broadcasting import broadcasting
from sad_jax.draw.passes import prepare
from sad_jax.lists.candidates import Candidates, unknown_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.model.frame import Frame
from sad_jax.model.sites import Sites, clamp_to
from sad_jax.model.tangent import GEOMETRY, as_updates, from_tangent, to_tangent
from sad_jax.optimize.colors import solve_colors
from sad_jax.optimize.gauss_newton import (
    SHARPEST,
    LastStep,
    curvature_in_tangents,
    scale_by_plane,
)
from sad_jax.optimize.least_squares import (
    Curvature,
    Target,
    change_of_picture,
    gradient_and_curvature,
    gradient_sums,
)

DAMPING = 0.1
COLOR_ITERATIONS = 20


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is done to make up for rounding.

    ``rounds``: after each field, each with exact lists of its own; ``steps``: in a round;
    ``color_parts``: in which the colours are rounded; ``color_steps``: after each but the last.
    """

    rounds: int = 2
    steps: int = 3
    color_parts: int = 3
    color_steps: int = 4


EFFORT = Effort()


@dataclasses.dataclass
class Relaxation:
    """Moves free fields so that the picture is as near to its target as it can be.

    ``target``: in [0, 1], of the picture in ``frame``; ``effort``: how much is done;
    ``lists``: the exact ones of the sites that were moved last, in the frame.
    """

    target: Target
    frame: Frame
    effort: Effort = EFFORT
    lists: Candidates | None = None

    def find_lists(self, sites: Sites) -> Candidates:
        """The exact lists, by the program that a fit has compiled."""
        return self._find_lists(self.frame.enter(sites))

    def _find_lists(self, inside: Sites) -> Candidates:
        near, canvas = self.lists, self.frame.canvas
        if near is None:
            near = unknown_lists(canvas, inside, self.target.mesh)
        backend = self.target.backend
        self.lists = find_candidates(inside, canvas, implementation=backend, near=near)
        return self.lists

    def move(self, sites: Sites, free: np.ndarray) -> Sites:
        """The sites after ``effort.rounds`` times ``effort.steps`` steps.

        Args:
          sites: N sites with colours in [0, 1].
          free: bool[6 + C, N], which parameters may move, in the order of a tangent.
        """
        inside, mask = self.frame.enter(sites), self.frame.pad_rows(free)
        last, steps = _OPTIMIZER.init(inside), jnp.int32(self.effort.steps)
        lists = self.lists or self._find_lists(inside)
        for _ in range(self.effort.rounds):
            inside, last = _relax(inside, lists, self.target, mask, last, steps)
            lists = self._find_lists(inside)
        return self.frame.leave(inside)

    def move_colors(self, sites: Sites, free: np.ndarray) -> Sites:
        """The sites after ``effort.color_steps`` steps of colours alone, which change no lists."""
        inside, mask = self.frame.enter(sites), self.frame.pad_rows(free)
        last, steps = _OPTIMIZER.init(inside), jnp.int32(self.effort.color_steps)
        lists = self.lists or self._find_lists(inside)
        return self.frame.leave(_relax(inside, lists, self.target, mask, last, steps)[0])

    def solve_colors(self, sites: Sites) -> Sites:
        """The colours of least error for the sites as they are, on their exact lists."""
        inside = self.frame.enter(sites)
        lists = self._find_lists(inside)
        solved, _ = solve_colors(inside, lists, self.target, iterations=COLOR_ITERATIONS)
        return self.frame.leave(solved)


_OPTIMIZER = scale_by_plane()


@jax.jit
@broadcasting
def _relax(
    sites: Sites,
    lists: Candidates,
    target: Target,
    free: jax.Array,
    last: LastStep,
    steps: jax.Array,
) -> tuple[Sites, LastStep]:
    """``steps`` steps on fixed lists, with the curvature of the first one."""
    size, lists = lists.grid.size, prepare(target.backend, sites, lists)
    largest = jnp.log(SHARPEST * size)

    def push(sites: Sites, tangent: jax.Array) -> jax.Array:
        return change_of_picture(sites, lists, target, from_tangent(sites, size, tangent))

    def step(_, carry):
        sites, last, errors, sums = carry
        tangent, fresh = _OPTIMIZER.update(
            to_tangent(sites, size, sums) * free,
            last,
            curvature=curvature,
            push=partial(push, sites),
            damping=DAMPING,
            backend=target.backend,
        )
        moved = optax.apply_updates(sites, as_updates(sites, tangent * free))
        sharpest = jnp.maximum(largest, sites.log_tau)
        moved = moved.replace(log_tau=jnp.minimum(moved.log_tau, sharpest))
        moved = _only_free(free, clamp_to(moved, target.corner), sites)
        ahead = gradient_sums(moved, lists, target)
        good = ahead[0].loss <= errors.loss
        kept, back = (
            (moved, fresh.worked(errors, ahead[0], count), *ahead),
            (sites, fresh.failed(), errors, sums),
        )
        return jax.tree.map(partial(jnp.where, good), kept, back)

    count = jnp.sum(sites.alive)
    errors, sums, curvature = gradient_and_curvature(sites, lists, target)
    curvature = _free_part(curvature_in_tangents(sites, size, curvature, target.backend), free)
    along = last.step * free.T
    last = last._replace(step=along, change=push(sites, along.T))
    carry = sites, last, errors, sums
    sites, last, _, _ = jax.lax.fori_loop(0, steps, step, carry)
    return sites, last._replace(change=None)


def _free_part(curvature: Curvature, free: jax.Array) -> Curvature:
    """The blocks in which what is not free is coupled to nothing."""
    own, color = free[:GEOMETRY], free[GEOMETRY:]
    coupled = own[:, None] * own
    eye = jnp.eye(GEOMETRY, dtype=free.dtype)[..., None]
    return curvature._replace(
        geometry=curvature.geometry * jnp.maximum(coupled, eye),
        mixed=curvature.mixed * own[:, None] * color,
    )


def _only_free(free: jax.Array, moved: Sites, before: Sites) -> Sites:
    """The sites before, with the parameters that are free as they have moved."""

    def choose(rows, new, old):
        return jnp.where(rows > 0, new, old)

    return Sites(
        position=choose(free[:2].T, moved.position, before.position),
        log_tau=choose(free[2], moved.log_tau, before.log_tau),
        radius=choose(free[3], moved.radius, before.radius),
        direction=choose(free[4][:, None], moved.direction, before.direction),
        log_aniso=choose(free[5], moved.log_aniso, before.log_aniso),
        color=choose(free[GEOMETRY:].T, moved.color, before.color),
    )
