"""A linear function with a transpose of its own: what gives a pass both modes of differentiation.

``jax.custom_vjp`` takes a hand-written reverse pass and then has no forward mode. Under
``jax.custom_jvp`` the tangent is a linear function of the changes, which JAX transposes for the
reverse mode by itself; here it is told the transpose. So the reverse mode runs the hand-written
pass and never the linear function, the forward mode runs the linear function and never the pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from sad_jax.varying import alongside

linear_p = Primitive("linear_with_transpose")


def linear(push: Callable, pull: Callable, known: Any, change: Any) -> jax.Array:
    """``push(known, change)``, one array, linear in ``change``.

    Args:
      push: the function.
      pull: (known, cotangent of the result) -> what ``change`` is; the transpose, linear in the
        cotangent.
      known: any arrays.
      change: arrays of floats.
    """
    known, change = alongside((known, change), known, change)
    known, known_form = jax.tree.flatten(known)
    change, change_form = jax.tree.flatten(change)
    opened = lambda operands: jax.tree.unflatten(known_form, operands[: len(known)])  # noqa: E731

    def flat_push(*operands):
        return push(opened(operands), jax.tree.unflatten(change_form, operands[len(known) :]))

    def flat_pull(*operands):
        return jax.tree.leaves(pull(opened(operands), operands[len(known)]))

    return linear_p.bind(*known, *change, push=flat_push, pull=flat_pull, count=len(known))


@linear_p.def_impl
def _run(*operands, push, **_):
    return jax.jit(push)(*operands)


@linear_p.def_abstract_eval
def _shape(*operands, push, **_):
    return jax.make_jaxpr(push)(*operands).out_avals[0]


def _derivative(operands, tangents, *, push, pull, count):
    """Only where ``known`` changes, too, the transpose is left to JAX."""
    shared = {"push": push, "pull": pull, "count": count}
    if all(type(tangent) is ad.Zero for tangent in tangents[:count]):
        change = map(ad.instantiate_zeros, tangents[count:])
        here = linear_p.bind(*operands, **shared)
        return here, linear_p.bind(*operands[:count], *change, **shared)
    return jax.jvp(push, tuple(operands), tuple(map(ad.instantiate_zeros, tangents)))


def _transpose(cotangent, *operands, push, pull, count):
    if type(cotangent) is ad.Zero:
        return [None] * len(operands)
    return [None] * count + pull(*operands[:count], cotangent)


def _batched(operands, axes, *, push, pull, count):
    """Each change has a row of the batch, so that each has a cotangent of its own."""
    size = next(a.shape[i] for a, i in zip(operands, axes, strict=True) if i is not None)
    known, change = (
        operands[:count],
        [
            jnp.broadcast_to(a, (size, *a.shape)) if i is None else jnp.moveaxis(a, i, 0)
            for a, i in zip(operands[count:], axes[count:], strict=True)
        ],
    )
    batched = linear_p.bind(
        *known,
        *change,
        push=jax.vmap(push, (*axes[:count], *[0] * len(change))),
        pull=jax.vmap(pull, (*axes[:count], 0)),
        count=count,
    )
    return batched, 0


def _lower(context, *operands, push, **_):
    return mlir.lower_fun(push, multiple_results=False)(context, *operands)


ad.primitive_jvps[linear_p] = _derivative
ad.primitive_transposes[linear_p] = _transpose
batching.primitive_batchers[linear_p] = _batched
mlir.register_lowering(linear_p, _lower)
