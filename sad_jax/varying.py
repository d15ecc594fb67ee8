"""Arrays within ``jax.shard_map``: over which of its axes they vary.

JAX knows of every array there whether the devices along an axis share it, and wants a loop to go on
with what it began with. Zeros and counters that a program makes itself are shared; ``alongside``
gives each device its own. Elsewhere it changes nothing.
"""

from __future__ import annotations

from typing import Any

import jax


def alongside(tree: Any, *operands: Any) -> Any:
    """The arrays of ``tree``, varying over all axes over which any of the operands does."""
    wanted = axes_of(operands)

    def vary(leaf):
        missing = sorted(wanted - axes_of(leaf), key=str)
        return jax.lax.pcast(leaf, tuple(missing), to="varying") if missing else leaf

    return jax.tree.map(vary, tree)


def axes_of(tree: Any) -> frozenset:
    """The axes of ``jax.shard_map`` over which any array of ``tree`` varies."""
    kinds = (jax.typeof(leaf) for leaf in jax.tree.leaves(tree))
    return frozenset().union(*(kind.manual_axis_type.varying for kind in kinds))
