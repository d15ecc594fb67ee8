"""Adam with a rate for each field, and the published optimiser made of it; for optax."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sad_jax.model.sites import Sites

DIFFUSION = 0.05  # lambda of the last step
DIFFUSION_PASSES = 4


@dataclasses.dataclass(frozen=True)
class Rates:
    """Learning rates of the fields: the published ones; position and radius in pixels."""

    position: float = 0.025
    log_tau: float = 0.01
    radius: float = 0.01
    color: float = 0.01
    direction: float = 0.0025
    log_aniso: float = 0.025


RATES = Rates()


@cache
def paper_optimizer(rates: Rates = RATES) -> optax.GradientTransformationExtraArgs:
    """The published optimiser: log-tau diffusion, Adam with isotropic vectors, rates per field.

    Its ``update`` takes ``neighbours`` (int32[N, K], the list of the cell on which each site
    stands) and ``progress`` (step over steps, 0 to 1) as extra arguments.
    """
    return optax.chain(
        diffuse_log_tau(), scale_by_isotropic_adam(), scale_by_field(rates), optax.scale(-1.0)
    )


def adam(rate: optax.ScalarOrSchedule = 1.0) -> optax.GradientTransformation:
    """Adam for sites: the published rates of the fields, all multiplied by ``rate``.

    Position and direction have one second moment each, see ``scale_by_isotropic_adam``.
    Published rates are for 4,000 steps; for a few hundred take ``rate`` 3 to 5 and let it fall.

    Args:
      rate: a number, or an optax schedule (steps done -> number).

    Returns:
      An optax transformation.

    Examples:
      >>> import jax, optax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> optimizer = sad.adam(optax.cosine_decay_schedule(4.0, 300))
      >>> updates, _ = optimizer.update(sites, optimizer.init(sites))  # a gradient of any size
      >>> [round(float(x), 4) for x in (updates.radius[0], updates.color[0, 0])]
      [-0.04, -0.04]
    """
    return optax.chain(
        scale_by_isotropic_adam(), scale_by_field(RATES), optax.scale_by_learning_rate(rate)
    )


def diffuse_log_tau() -> optax.GradientTransformationExtraArgs:
    """Smooths the gradient of log_tau over neighbouring sites.

    4 Jacobi passes of g <- (g_raw + lambda sum_n g_n) / (1 + lambda count) over the distinct other
    sites n in the list of the cell on which the site stands; lambda = 0.05 (0.1 + 0.9 progress).
    """

    def update(updates: Sites, state, params=None, *, neighbours, progress, **unused):
        strength = DIFFUSION * (0.1 + 0.9 * progress)
        other = neighbours != jnp.arange(neighbours.shape[0])[:, None]
        count = jnp.sum(other, 1)
        raw = smooth = updates.log_tau
        for _ in range(DIFFUSION_PASSES):
            near = jnp.sum(jnp.where(other, smooth[neighbours], 0), 1)
            smooth = (raw + strength * near) / (1 + strength * count)
        return updates.replace(log_tau=smooth), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


class IsotropicAdamState(NamedTuple):
    """``steps``: so far; ``first``: Sites-shaped; ``second``: one number a vector."""

    steps: jax.Array
    first: Sites
    second: Sites


def scale_by_isotropic_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam in which position and direction share one second moment, their squared length.

    So a step has the direction of the averaged gradient, whatever the axes. Colours keep a second
    moment a channel. Zeroed moments of a site do not restart the bias correction, as published.
    """

    def squares(sites: Sites) -> Sites:
        squared = jax.tree.map(jnp.square, sites)
        total = partial(jax.tree.map, lambda v: jnp.sum(v, -1, keepdims=True))
        return squared.replace(position=total(squared.position), direction=total(squared.direction))

    square = partial(_of_sites, squares)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return IsotropicAdamState(jnp.zeros([], jnp.int32), zeros, square(zeros))

    def update(updates, state: IsotropicAdamState, params=None):
        steps = state.steps + 1
        first = optax.tree.update_moment(updates, state.first, b1, 1)
        second = optax.tree.update_moment(square(updates), state.second, b2, 1)
        first_hat = optax.tree.bias_correction(first, b1, steps)
        second_hat = optax.tree.bias_correction(second, b2, steps)
        scaled = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), first_hat, second_hat)
        return scaled, IsotropicAdamState(steps, first, second)

    return optax.GradientTransformation(init, update)


def scale_by_field(rates: Rates) -> optax.GradientTransformation:
    """Multiplies every field of a Sites-shaped update by its own rate; other trees have none."""

    rate_of = dataclasses.asdict(rates)

    def scaled(sites: Sites) -> Sites:
        times = lambda field, rate: jax.tree.map(lambda leaf: leaf * rate, field)  # noqa: E731
        return sites.replace(**{n: times(getattr(sites, n), rate) for n, rate in rate_of.items()})

    return optax.stateless(lambda updates, params=None: _of_sites(scaled, updates))


def _of_sites(function: Callable[[Sites], Sites], tree):
    """Maps all Sites of a tree, fields of which may be masked; there must be nothing else in it."""

    def one(node):
        if not isinstance(node, Sites):
            raise TypeError(
                f"expected Sites alone for adam, which has a rate for each field, got an array of "
                f"shape {jnp.shape(node)}; give it another optimizer, by optax.partition"
            )
        return function(node)

    return jax.tree.map(one, tree, is_leaf=lambda node: isinstance(node, Sites))
