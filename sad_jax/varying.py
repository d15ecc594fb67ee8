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


def check_axes(name: str, tree: Any) -> None:
    """Raises a ValueError for arrays cut along explicit axes of a mesh, outside of ``shard_map``.

    There JAX asks every gather how its result is to lie; it is not told.
    """
    kinds = [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
    axes = {axis for kind in kinds for axis in kind.sharding.spec if axis is not None}
    if axes:
        raise ValueError(
            f"expected {name} whole on every device, or cut along axes that JAX partitions by "
            f"itself (AxisType.Auto, as of sad_jax.sharding.make_mesh) or within shard_map, got "
            f"explicit axes {', '.join(sorted(map(str, axes)))}"
        )
