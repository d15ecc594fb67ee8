"""Gauss-Newton for any convex loss of the picture, as an optax transformation.

Let c = R(sites) be the picture, J the Jacobian of R in tangents (``gauss_newton.py``), g and H the
gradient and the Hessian of the loss L(c). The generalised Gauss-Newton matrix (Schraudolph 2002)
keeps the curvature of L and drops that of R; for 1/2 |A c - y|^2 it is (AJ)'(AJ). A step solves

    (J'HJ + damping h D) p = -J'g,        h = g'Hg / g'g,        D = diag J'J,

by a few conjugate gradients from zero, preconditioned with h times the block diagonal of
J'J + damping D. J, J' and H are applied, never formed: by ``jvp``, its transpose, and the ``jvp``
of the loss's gradient. As in a fit, steps are capped, and no border becomes so sharp that sums over
its pixels lose their digits.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax

from sad_jax.candidates import Candidates
from sad_jax.gauss_newton import (
    FLOOR,
    GEOMETRY,
    SHARPEST,
    TINY,
    as_updates,
    capped,
    conjugate_gradients,
    make_blocks,
    solve_blocks,
)
from sad_jax.losses import gradient_and_curvature, make_target
from sad_jax.render import render
from sad_jax.sites import Sites


def newton(
    damping: optax.ScalarOrSchedule = 0.03, *, iterations: int = 5
) -> optax.GradientTransformationExtraArgs:
    """Gauss-Newton for ``make_step`` and ``minimize``: fewer, dearer steps than Adam's.

    A step is long, so the lists should be found anew before each one. The loss must be convex in
    the picture. Where it bends sharply, as total variation does, let its second derivative be that
    of a quadratic above it: with ``l = stop_gradient(length)``, ``(length**2 / l + l) / 2`` has the
    value and the slope of ``length``. It draws by plain XLA, on one device.

    Args:
      damping: relative; or an optax schedule (steps done -> number), from 0.1 to 0.01, say.
      iterations: of conjugate gradients, each about as dear as a gradient.

    Returns:
      An optax transformation whose ``update`` takes the extra arguments ``lists`` (Candidates) and
      ``loss`` (picture float[H, W, C] -> float[]). Its state is the number of steps done.

    Example:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> goal = jnp.linspace(0, 1, 12)[None, :, None]
      >>> loss = lambda image: jnp.mean((image - goal) ** 2)
      >>> sites = sad.init_sites(jnp.full((8, 12, 1), 0.5), 6, key=jax.random.key(0))
      >>> options = {"steps": 12, "optimizer": sad.newton(), "refresh_every": 1}
      >>> state = sad.minimize(loss, sites, (8, 12), **options)
      >>> bool(loss(sad.render(state.sites, state.lists)) < 0.01)  # 0.1 at the start
      True
    """

    def update(
        gradient: Sites, steps: jax.Array, sites: Sites, *, lists: Candidates, loss, **unused
    ) -> tuple[Sites, jax.Array]:
        now = damping(steps) if callable(damping) else damping
        origin = jnp.zeros((GEOMETRY + sites.channels, sites.num_sites), sites.color.dtype)

        def draw(tangent: jax.Array) -> jax.Array:
            moved = jax.tree.map(jnp.add, sites, as_updates(sites, tangent))
            return render(moved, lists, implementation="xla")

        picture, push = jax.linearize(draw, origin)
        pull = jax.linear_transpose(push, origin)
        slope, bend = jax.linearize(jax.grad(loss), picture)
        height = jnp.vdot(slope, bend(slope)) / jnp.maximum(jnp.vdot(slope, slope), TINY)
        height = jnp.maximum(height, TINY)

        target = make_target(lists.grid, picture)
        _, _, curvature = gradient_and_curvature(lists.grid, sites, lists.ids, target)
        blocks = make_blocks(sites, lists.grid.size, curvature)
        added = now * blocks.diagonal + FLOOR
        step = conjugate_gradients(
            lambda p: pull(bend(push(p)))[0] / height + added * p,
            partial(solve_blocks, blocks, added),
            -pull(slope)[0] / height,
            iterations,
        )
        updates = as_updates(sites, capped(step))
        room = jnp.log(SHARPEST * lists.grid.size) - sites.log_tau
        return updates.replace(log_tau=jnp.minimum(updates.log_tau, room)), steps + 1

    return optax.GradientTransformationExtraArgs(lambda sites: jnp.int32(0), update)
