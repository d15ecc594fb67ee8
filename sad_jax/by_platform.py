"""A function that runs as one thing on CUDA and as another elsewhere, told when it is lowered.

``jax.lax.platform_dependent`` does that too; but where a program is exported for several platforms
at once, it lowers every branch for all of them, and a Pallas kernel has no lowering for a CPU (jax
0.10 to 0.12). Here each function is lowered for its own platform alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from sad_jax.varying import alongside

by_platform_p = Primitive("by_platform")
by_platform_p.multiple_results = True


def by_platform(cuda: Callable, default: Callable, *operands) -> Any:
    """``cuda(*operands)`` where the program is lowered for CUDA, ``default(*operands)`` elsewhere.

    Both return arrays of the same shapes, and may close over other arrays. Neither can be
    differentiated here: callers have a derivative of their own.
    """
    leaves, form = jax.tree.flatten(alongside(operands, operands))

    def traced(function: Callable):
        flat = lambda *leaves: function(*jax.tree.unflatten(form, leaves))  # noqa: E731
        return jax.make_jaxpr(flat, return_shape=True)(*leaves)

    (kernel, shape), (plain, _) = traced(cuda), traced(default)
    first, second = len(kernel.consts), len(kernel.consts) + len(plain.consts)
    found = by_platform_p.bind(
        *kernel.consts,
        *plain.consts,
        *leaves,
        cuda=lambda *a: jax.core.eval_jaxpr(kernel.jaxpr, a[:first], *a[second:]),
        default=lambda *a: jax.core.eval_jaxpr(plain.jaxpr, a[first:second], *a[second:]),
    )
    return jax.tree.unflatten(jax.tree.structure(shape), found)


@by_platform_p.def_impl
def _run(*operands, **functions):
    return jax.jit(partial(by_platform_p.bind, **functions))(*operands)


@by_platform_p.def_abstract_eval
def _shapes(*operands, cuda, default):
    return jax.make_jaxpr(default)(*operands).out_avals


def _batched(operands, axes, *, cuda, default):
    found = by_platform_p.bind(
        *operands, cuda=jax.vmap(cuda, axes), default=jax.vmap(default, axes)
    )
    return found, [0] * len(found)


def _refuse(*_, **__):
    raise TypeError(
        'expected implementation="xla" or "xla_vjp" for derivatives of derivatives, '
        "got a Pallas kernel, which has none"
    )


def _lower_plain(ctx, *operands, cuda, default):
    return mlir.lower_fun(default)(ctx, *operands)


def _lower_kernel(ctx, *operands, cuda, default):
    alone = ctx.module_context.replace(platforms=("cuda",))
    return mlir.lower_fun(cuda)(ctx.replace(module_context=alone), *operands)


batching.primitive_batchers[by_platform_p] = _batched
ad.primitive_jvps[by_platform_p] = _refuse
mlir.register_lowering(by_platform_p, _lower_plain)
mlir.register_lowering(by_platform_p, _lower_kernel, platform="cuda")
