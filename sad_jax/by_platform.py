"""A function that runs as another one on each platform, told when it is lowered.

``jax.lax.platform_dependent`` does that too; but where a program is exported for several platforms
at once, it lowers every branch for all of them, and a Pallas kernel has no lowering for a CPU (jax
0.10 to 0.12). Here each function is lowered for its own platform alone. A program that is exported
is to run elsewhere, where the CPU engine need not be: for a CPU it keeps the default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from sad_jax.varying import alongside

PLATFORMS = ("cuda", "cpu")  # that may have a way of their own

by_platform_p = Primitive("by_platform")
by_platform_p.multiple_results = True


def by_platform(ways: dict[str, Callable], default: Callable, *operands) -> Any:
    """``ways[platform](*operands)`` where there is one, ``default(*operands)`` elsewhere.

    All return arrays of the same shapes, and may close over other arrays. What is differentiated
    is the default.
    """
    leaves, form = jax.tree.flatten(alongside(operands, operands))
    constants: list = []

    def traced(function: Callable):
        flat = lambda *leaves: function(*jax.tree.unflatten(form, leaves))  # noqa: E731
        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*leaves)
        mine = slice(len(constants), len(constants) + len(closed.consts))
        constants.extend(closed.consts)

        def run(*operands):
            own = operands[len(operands) - len(leaves) :]
            return jax.core.eval_jaxpr(closed.jaxpr, operands[mine], *own)

        return run, shape

    functions = {platform: traced(way)[0] for platform, way in ways.items()}
    functions["default"], shape = traced(default)
    found = by_platform_p.bind(*constants, *leaves, **functions)
    return jax.tree.unflatten(jax.tree.structure(shape), found)


@by_platform_p.def_impl
def _run(*operands, **functions):
    return jax.jit(partial(by_platform_p.bind, **functions))(*operands)


@by_platform_p.def_abstract_eval
def _shapes(*operands, default, **_):
    return jax.make_jaxpr(default)(*operands).out_avals


def _batched(operands, axes, **functions):
    mapped = {platform: jax.vmap(way, axes) for platform, way in functions.items()}
    found = by_platform_p.bind(*operands, **mapped)
    return found, [0] * len(found)


def _derivative(primals, tangents, *, default, **_):
    return jax.jvp(default, tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))


def _lower(platform, ctx, *operands, **functions):
    exported = ctx.module_context.lowering_parameters.for_export
    if platform not in functions or (platform == "cpu" and exported):
        return mlir.lower_fun(functions["default"])(ctx, *operands)
    alone = ctx.module_context.replace(platforms=(platform,))
    return mlir.lower_fun(functions[platform])(ctx.replace(module_context=alone), *operands)


batching.primitive_batchers[by_platform_p] = _batched
ad.primitive_jvps[by_platform_p] = _derivative
mlir.register_lowering(by_platform_p, partial(_lower, "default"))
for _platform in PLATFORMS:
    mlir.register_lowering(by_platform_p, partial(_lower, _platform), platform=_platform)
