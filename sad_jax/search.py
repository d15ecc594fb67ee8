"""The exact lists of a picture, by culling: what a decoder computes.

The list of a cell is a mathematical function of the sites, so a picture defined by it is the same
on every machine. Going over all sites for every cell would be slow; instead the canvas is cut into
blocks of tiles. A site's score over a box lies between two bounds; a site whose lower bound exceeds
the K-th smallest upper bound cannot enter a list there. Sites are culled for a block, what is left
for each of its tiles, and what is left then is scored at every cell. Every loop runs over as many
sites as there are: nothing overflows, so the lists are always exact.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from sad_jax import score as formula
from sad_jax.candidates import Candidates, canvas_of
from sad_jax.cells import Grid
from sad_jax.score import Rows
from sad_jax.sites import Sites

TILE = 8  # cells a side
BLOCK = 8  # tiles a side
BLOCK_CHUNK = 4096  # sites culled at once for a block
TILE_CHUNK = 512  # and for a tile
SCORE_CHUNK = 128  # sites scored at once
SLACK = 1e-5  # relative room for rounding in the bounds


def find_candidates(
    sites: Sites, shape: tuple[int, int], *, k: int | None = None, cell: int | None = None
) -> Candidates:
    """The exact list of every cell: the K sites of smallest score at the cell's centre.

    score = tau (d - r/S), see ``score.py``; equal scores are ordered by id. A deterministic
    function of the sites, and not differentiable: gradients do not flow through the choice.

    Args:
      sites: N sites.
      shape: (H, W) in pixels; a ``Canvas`` also tells K and the cell size.
      k: sites a list, 1 to 32 (8 by default); with fewer sites lists are shorter.
      cell: pixels a side of the square that shares a list: 1 (the default), 2 or 4.

    Returns:
      Candidates with ids int32[ceil(H / cell), ceil(W / cell), min(K, N)].

    Raises:
      ValueError: no sites, or a K, cell or shape out of range.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.find_candidates(sites, (6, 9), k=4, cell=2).ids.shape
      (3, 5, 4)
    """
    canvas = canvas_of(shape, k, cell)
    if sites.num_sites < 1:
        raise ValueError("expected at least one site, got none")
    grid = Grid(*canvas, canvas.cell)
    ids = _search(grid, min(canvas.k, sites.num_sites), jax.lax.stop_gradient(sites))
    return Candidates(ids, jnp.int32(0), grid.height, grid.width, grid.cell)


@partial(jax.jit, static_argnums=(0, 1))
def _search(grid: Grid, k: int, sites: Sites) -> jax.Array:
    n = sites.num_sites
    capacity = n + BLOCK_CHUNK  # a chunk may begin at any site and reach beyond the last one
    rows = formula.site_rows(sites, grid.size)
    everyone = jnp.arange(capacity, dtype=jnp.int32) % n
    tiles_y, tiles_x = -(-grid.rows // TILE), -(-grid.columns // TILE)
    blocks_y, blocks_x = -(-tiles_y // BLOCK), -(-tiles_x // BLOCK)
    inside = jnp.stack(jnp.meshgrid(jnp.arange(BLOCK), jnp.arange(BLOCK)), -1).reshape(-1, 2)

    def block(scratch, corner):  # corner: (x, y) of a block, in blocks
        kept, count = _cull(
            rows, everyone, n, scratch[0], _box(grid, corner, BLOCK * TILE), k, BLOCK_CHUNK
        )

        def tile(scratch, corner):  # in tiles
            near, near_count = _cull(
                rows, kept, count, scratch, _box(grid, corner, TILE), k, TILE_CHUNK
            )
            return near, _best(rows, near, near_count, _centers(grid, corner), k)

        scratch_tile, lists = jax.lax.scan(tile, scratch[1], corner * BLOCK + inside)
        return (kept, scratch_tile), lists

    corners = jnp.stack(jnp.meshgrid(jnp.arange(blocks_x), jnp.arange(blocks_y)), -1)
    _, lists = jax.lax.scan(block, (everyone, everyone), corners.reshape(-1, 2))
    lists = lists.reshape(blocks_y, blocks_x, BLOCK, BLOCK, TILE, TILE, k)
    lists = lists.transpose(0, 2, 4, 1, 3, 5, 6)
    side = BLOCK * TILE
    return lists.reshape(blocks_y * side, blocks_x * side, k)[: grid.rows, : grid.columns]


def _box(grid: Grid, corner: jax.Array, side: int) -> tuple[jax.Array, jax.Array]:
    """Middle and half extent, in pixels, of the centres of a square of cells within the grid."""
    last = jnp.asarray([grid.columns - 1, grid.rows - 1])
    low = jnp.minimum(corner * side, last)
    high = jnp.minimum(corner * side + side - 1, last)
    middle = (low + high) * (0.5 * grid.cell) + grid.center
    return middle, (high - low) * (0.5 * grid.cell)


def _centers(grid: Grid, corner: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centres x, y, float[TILE * TILE, 1], of the cells of a tile."""
    index = jnp.arange(TILE * TILE)
    x = (corner[0] * TILE + index % TILE) * float(grid.cell) + grid.center
    y = (corner[1] * TILE + index // TILE) * float(grid.cell) + grid.center
    return x[:, None], y[:, None]


def _bounds(rows: Rows, box: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Bounds of the scores of sites over a box, with room for rounding."""
    (x, y), (half_x, half_y) = box
    dx, dy = x - rows.x, y - rows.y
    length = lambda a, b: jnp.hypot(*formula.metric_offset(rows, a, b))  # noqa: E731
    middle = length(dx, dy)
    reach = jnp.maximum(length(half_x, half_y), length(half_x, -half_y))
    outside = jnp.hypot(jnp.maximum(abs(dx) - half_x, 0), jnp.maximum(abs(dy) - half_y, 0))
    shortest = jnp.hypot(rows.fx, rows.fy) * jnp.minimum(rows.h, 1) * outside
    least = jnp.sqrt(formula.SQUARED_DISTANCE_MIN)
    nearest = jnp.maximum(jnp.maximum(middle - reach, shortest), least)
    farthest = jnp.maximum(middle + reach, least)
    slack = SLACK * (farthest + abs(rows.radius))
    return (
        rows.tau * (nearest - rows.radius - slack),
        rows.tau * (farthest - rows.radius + slack),
    )


def _chunk(rows: Rows, ids: jax.Array, start: jax.Array, size: int) -> tuple[jax.Array, Rows]:
    part = jax.lax.dynamic_slice_in_dim(ids, start, size)
    return part, Rows(*(row.at[part].get(mode="promise_in_bounds") for row in rows))


def _cull(rows, ids, count, scratch, box, k: int, size: int) -> tuple[jax.Array, jax.Array]:
    """Of the first ``count`` ids those that can enter a list in the box, in their order.

    They are written into ``scratch``, whose rest is left as it was; returned with their number.
    """
    room = -jnp.full(k, jnp.inf, rows.x.dtype)  # negated, largest first

    def lowest(state):
        start, best = state
        _, part = _chunk(rows, ids, start, size)
        upper = jnp.where(start + jnp.arange(size) < count, _bounds(part, box)[1], jnp.inf)
        return start + size, jax.lax.top_k(jnp.concatenate([best, -upper]), k)[0]

    limit = -jax.lax.while_loop(lambda s: s[0] < count, lowest, (jnp.int32(0), room))[1][-1]

    def keep(state):
        start, kept, total = state
        part_ids, part = _chunk(rows, ids, start, size)
        wanted = (start + jnp.arange(size) < count) & (_bounds(part, box)[0] <= limit)
        place = total + jnp.cumsum(wanted) - 1
        kept = kept.at[jnp.where(wanted, place, len(kept))].set(part_ids, mode="drop")
        return start + size, kept, total + jnp.sum(wanted, dtype=jnp.int32)

    state = jnp.int32(0), scratch, jnp.int32(0)
    return jax.lax.while_loop(lambda s: s[0] < count, keep, state)[1:]


def _best(rows, ids, count, centers, k: int) -> jax.Array:
    """int32[TILE, TILE, K]: the lists of a tile's cells from the first ``count`` ids."""
    x, y = centers
    cells = x.shape[0]

    def better(state):
        start, best, best_ids = state
        part_ids, part = _chunk(rows, ids, start, SCORE_CHUNK)
        valid = start + jnp.arange(SCORE_CHUNK) < count
        scores = jnp.where(valid, formula.score(part, x, y), jnp.inf)
        merged = jnp.concatenate([best, -scores], 1)
        merged_ids = jnp.concatenate(
            [best_ids, jnp.broadcast_to(part_ids, (cells, SCORE_CHUNK))], 1
        )
        best, slot = jax.lax.top_k(merged, k)
        return start + SCORE_CHUNK, best, jnp.take_along_axis(merged_ids, slot, 1)

    none = -jnp.full((cells, k), jnp.inf, rows.x.dtype), jnp.full((cells, k), -1, jnp.int32)
    state = jax.lax.while_loop(lambda s: s[0] < count, better, (jnp.int32(0), *none))
    return state[2].reshape(TILE, TILE, k)
