"""Trees side by side: of a batch or an ensemble, stacked along a first axis, over local devices."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sad_jax.sharding import make_mesh


def side_by_side(function: Callable, mesh: Mesh, shared: int) -> Callable:
    """The function of stacked trees; each device does its own.

    Args:
      function: of some trees and, last, ``shared`` trees that all members are given alike.
      mesh: that of ``batch_mesh``.
      shared: how many.
    """
    rows = PartitionSpec(mesh.axis_names[0])

    def run(*trees):
        own = len(trees) - shared
        mapped = jax.vmap(function, in_axes=(0,) * own + (None,) * shared)
        specs = (rows,) * own + (PartitionSpec(),) * shared
        return jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=rows)(*trees)

    return run


def batch_mesh(size: int) -> Mesh:
    """As many local devices as divide ``size``, in one row."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if size % n == 0)
    return make_mesh(devices[:count], axis="batch")


def stack(trees: list, mesh: Mesh):
    """Trees of one form as one tree with a leading axis, along which a mesh cuts it.

    So steps find it as they leave it, and are compiled once.
    """
    return _stacked(mesh)(trees)


@functools.cache
def _stacked(mesh: Mesh) -> Callable:
    def stacked(trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return jax.jit(stacked, out_shardings=rows)


@jax.jit
def unstack(tree) -> list:
    """Undoes ``stack``."""
    leaves, form = jax.tree.flatten(tree)
    return [jax.tree.unflatten(form, row) for row in zip(*map(list, leaves), strict=True)]
