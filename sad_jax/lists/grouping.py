"""The exact search by a kernel: XLA orders groups of sites, the kernel walks them.

A GPU is slow at the many small loops of ``culling.py``. Here the sites are put into groups of
neighbours, and the groups ordered for each tile of the picture by their lower bounds; the kernel
walks them in this order until no list can change any more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from sad_jax.lists.bounds import bounds, box_of, places
from sad_jax.model import score as formula
from sad_jax.model.canvas import Grid
from sad_jax.model.score import Rows
from sad_jax.model.sites import hilbert_index

if TYPE_CHECKING:
    from kernels_pallas import Launch

KERNEL_TILE = 16  # cells a side, for a program of the kernel
GROUP = 32  # sites
BOUNDS = 2**25  # of groups in tiles that may exist at once


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def search_by_groups(grid: Grid, k: int, search: Callable, launch: Launch, rows: Rows) -> jax.Array:
    """The lists int32[Hc, Wc, K], tile by tile, by the kernel ``search``."""
    side, position = KERNEL_TILE, jnp.stack([rows.x, rows.y], -1)
    along = jnp.argsort(hilbert_index(position, grid.size)).astype(jnp.int32)
    ids = jnp.pad(along, (0, -len(along) % GROUP), mode="edge").reshape(-1, GROUP)
    grouped = formula.take(rows, ids)
    tiles_y, tiles_x = -(-grid.rows // side), -(-grid.columns // side)
    tiles, chunk = tiles_y * tiles_x, max(1, BOUNDS // len(ids))
    chunk = min(chunk, tiles)
    last = jnp.asarray([grid.columns - 1, grid.rows - 1])

    def lists(corner):  # [2, tiles]: (x, y) of their first cells
        lower = jnp.min(bounds(grouped, box_of(grid, corner[..., None, None], side))[0], axis=-1)
        groups = jnp.broadcast_to(jnp.arange(len(ids), dtype=jnp.int32), lower.shape)
        bound, order = jax.lax.sort((lower, groups), num_keys=1)
        cells = jnp.minimum(corner.T[..., None] + places(side, side), last[:, None])
        place = (cells * grid.cell).astype(rows.x.dtype) + grid.center
        return search(grouped, ids, order, bound, place, k, launch)

    corner = side * jnp.stack(jnp.meshgrid(jnp.arange(tiles_x), jnp.arange(tiles_y)))
    corner = jnp.pad(corner.reshape(2, tiles), ((0, 0), (0, -tiles % chunk)), mode="edge")
    found = jax.lax.map(lists, corner.reshape(2, -1, chunk).swapaxes(0, 1))
    found = found.reshape(-1, k, side * side)[:tiles].reshape(tiles_y, tiles_x, k, side, side)
    found = found.transpose(0, 3, 1, 4, 2).reshape(tiles_y * side, tiles_x * side, k)
    return found[: grid.rows, : grid.columns]
