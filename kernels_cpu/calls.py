"""The engine's functions on arrays as the library lays them out (``model/canvas.py``).

Under ``vmap`` a batch is one call. The same bits come out for any number of threads, but not for
every instruction set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kernels_cpu.library import why_not_built
from sad_jax.varying import alongside


def group_lists(ids: jax.Array, num_sites: int) -> jax.Array:
    """The members of tiles of cells, int32[Hc, Wc, 2 K + 2], from lists int32[Hc, Wc, K].

    All passes read these; those over the same lists can share them. ``members.hpp`` says what they
    are; most of the array is never written.
    """
    members = jax.ShapeDtypeStruct((*ids.shape[:-1], 2 * ids.shape[-1] + 2), jnp.int32)
    return _call("sad_group", members, ids, sites=np.int64(num_sites))


def sum_members(
    name: str,
    table: jax.Array,
    members: jax.Array,
    inputs: tuple[jax.Array, ...],
    entries: int,
    *,
    cell: int,
    loss: str,
    numbers: Sequence[float],
) -> jax.Array:
    """For every site the sum over the pixels in whose lists it stands, [entries, N].

    Args:
      name: of the pass.
      table: float[7 + C + A, N].
      members: by ``group_lists``.
      inputs: pictures [blocks, P, c, lanes]: one of C channels, and in most passes weights.
      entries: what a site receives.
      cell: pixels a side of a cell.
      loss: the name of the robust loss.
      numbers: the constants of the pass.
    """
    shape = jax.ShapeDtypeStruct((entries, table.shape[1]), table.dtype)
    return _call(
        f"sad_{name}", shape, table, members, *_two(inputs), **_setting(cell, loss, numbers)
    )


def change_of_picture(
    table: jax.Array,
    members: jax.Array,
    inputs: tuple[jax.Array, ...],
    entries: int,
    *,
    cell: int,
    loss: str,
    numbers: Sequence[float],
) -> jax.Array:
    """The root of the weights times the change by attached steps, [blocks, P, entries, lanes].

    ``entries``: the C of the image of ``inputs`` for one step, 2 C for two.
    """
    blocks, pixels, _, lanes = inputs[0].shape
    image = jax.ShapeDtypeStruct((blocks, pixels, entries, lanes), table.dtype)
    return _call("sad_change", image, table, members, *inputs, **_setting(cell, loss, numbers))


def blend_picture(
    table: jax.Array, members: jax.Array, shape: tuple[int, ...], *, cell: int
) -> jax.Array:
    """The picture in blocks, of the given ``shape`` [blocks, P, C, lanes]."""
    image = jax.ShapeDtypeStruct(shape, table.dtype)
    return _call("sad_blend", image, table, members, cell=np.int64(cell))


def search_lists(rows: jax.Array, shape: tuple[int, int, int], *, cell: int) -> jax.Array:
    """The exact lists int32[Hc, Wc, K], of the given ``shape``, from the rows float[7, N]."""
    lists = jax.ShapeDtypeStruct(shape, jnp.int32)
    return _call("sad_search", lists, rows, cell=np.int64(cell))


def merge_lists(rows: jax.Array, ids: jax.Array, place: jax.Array, k: int) -> jax.Array:
    """The best K of the ids offered to every cell, without repeats, int32[blocks, K, lanes].

    Args:
      rows: float[7, N], of the formula.
      ids: int32[blocks, M, lanes], with at least K distinct ids in each lane.
      place: float[blocks, 2, lanes], (x, y) in pixels where the scores are taken.
      k: K.
    """
    lists = jax.ShapeDtypeStruct((ids.shape[0], k, ids.shape[2]), jnp.int32)
    return _call("sad_merge", lists, rows, ids, place)


def map_curvature(
    chain: jax.Array, geometry: jax.Array, mixed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """chain geometry chain' and chain mixed of every site: of [6, 6, N], [6, 6, N], [6, C, N]."""
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (geometry, mixed)]
    return tuple(_call("sad_map_curvature", shapes, chain, geometry, mixed))


def solve_blocks(
    geometry: jax.Array,
    mixed: jax.Array,
    color: jax.Array,
    added: jax.Array,
    right: jax.Array,
    *,
    least_pivot: float,
) -> jax.Array:
    """(curvature + diag added)^-1 right of every site, [6 + C, N].

    Args:
      geometry, mixed, color: the curvature, [6, 6, N], [6, C, N] and [N].
      added: [6 + C, N].
      right: [6 + C, N].
      least_pivot: of a system that is scaled to a diagonal of one.
    """
    shape = jax.ShapeDtypeStruct(right.shape, right.dtype)
    arrays = geometry, mixed, color, added, right
    return _call("sad_solve", shape, *arrays, least_pivot=np.float32(least_pivot))


def _two(inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """All passes are given two pictures; where the second one is missing, it is never read."""
    return (*inputs, jnp.zeros(0, inputs[0].dtype))[:2]


def _setting(cell: int, loss: str, numbers: Sequence[float]) -> dict:
    return {"cell": np.int64(cell), "loss": loss, "numbers": np.asarray(numbers, np.float32)}


def _call(name: str, shape: Any, *arrays: jax.Array, **attributes) -> Any:
    if reason := why_not_built():  # or it is loaded now
        raise NotImplementedError(reason)
    call = jax.ffi.ffi_call(name, shape, vmap_method="broadcast_all")
    return alongside(call(*alongside(arrays, arrays), **attributes), arrays)
