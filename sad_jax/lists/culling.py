"""The exact search in plain XLA: culling from the canvas down to the cell.

Going over all sites for every cell would be slow. Instead the canvas is cut into regions, regions
into patches and patches into tiles of cells. A site's score over a box lies between two bounds; a
site whose lower bound exceeds the K-th smallest upper bound cannot enter a list there. Sites are
culled for a region, what is left for each of its patches, what is left then for each tile, and the
rest is scored at every cell. Every loop runs over as many sites as there are: nothing overflows, so
the lists are always exact.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from sad_jax.lists.bounds import Box, bounds, box_around, box_of, places
from sad_jax.lists.candidates import smallest
from sad_jax.model import score as formula
from sad_jax.model.canvas import Grid
from sad_jax.model.score import Rows
from sad_jax.model.sites import hilbert_index
from sad_jax.varying import alongside

TILE = 8  # cells a side
PATCH = 4  # tiles a side, searched at once
REGION = 4  # patches a side, at most, for which sites are culled first
PATCH_CHUNK = 4096  # sites culled at once for a region or a patch
TILE_CHUNK = 512  # sites culled at once for all tiles of a patch
SCORE_CHUNK = 32  # sites scored at once in every tile
PARTS = 64  # parts that a chunk is cut into, at least K, see ``_limit``


@partial(jax.jit, static_argnums=(0, 1))
def search_by_culling(grid: Grid, k: int, rows: Rows, near: jax.Array | None) -> jax.Array:
    """The lists int32[Hc, Wc, K] of sites with the rows float[N] each.

    ``near``, of the same shape, are earlier lists; -1 stands where a site is no more or never was.
    """
    n, side = rows.x.shape[0], PATCH * TILE
    rows, near = alongside((rows, near), rows, near)
    everyone = _everyone(rows)
    (regions_y, per_y), (regions_x, per_x) = (
        _evenly(-(-cells // side), REGION) for cells in (grid.rows, grid.columns)
    )
    no_limit = jnp.full(PATCH * PATCH, jnp.inf, rows.x.dtype)
    patches = places(per_x, per_y).T * side

    def region(scratch, corner):  # corner: (x, y) of its first cell
        around: jax.Array = everyone
        count: jax.Array | int = n
        if len(patches) > 1:
            box = box_of(grid, corner, jnp.asarray([per_x, per_y]) * side)
            around, count = _cull(rows, everyone, n, scratch, box, k, no_limit)

        def patch(scratch, offset):
            first = corner + offset
            known = no_limit if near is None else _worst_known(grid, rows, near, first)
            box = box_of(grid, first, side)
            kept, left = _cull(rows, around, count, scratch, box, k, known)
            tile = first[:, None] + TILE * places(PATCH, PATCH)
            boxes = box_of(grid, tile[..., None], TILE)
            x, y = (tile[..., None] + places(TILE, TILE)[:, None]) * float(grid.cell) + grid.center
            return kept, _lists(rows, kept, left, boxes, x, y, k, known)

        return around, jax.lax.scan(patch, everyone, patches)[1]

    corners = places(regions_x, regions_y).T * side * jnp.asarray([per_x, per_y])
    lists = jax.lax.scan(region, everyone, corners)[1]
    lists = lists.reshape(regions_y, regions_x, per_y, per_x, k, PATCH, PATCH, TILE, TILE)
    lists = lists.transpose(0, 2, 5, 7, 1, 3, 6, 8, 4)
    lists = lists.reshape(regions_y * per_y * side, regions_x * per_x * side, k)
    return lists[: grid.rows, : grid.columns]


@partial(jax.jit, static_argnums=0)
def search_at_points(k: int, rows: Rows, points: jax.Array) -> jax.Array:
    """The lists int32[M, K] of single points float[M, 2], finite ones, anywhere.

    The points are put into tiles and patches of neighbours, which are as large as they happen to
    be; then all is as for the cells of a canvas.
    """
    count, n = points.shape[0], rows.x.shape[0]
    rows, points = alongside((rows, points), rows, points)
    cells = max(1, min(TILE * TILE, count))
    tiles = max(1, min(PATCH * PATCH, -(-count // cells)))
    order = jnp.argsort(hilbert_index(points, 2**15))
    padding = -count % (tiles * cells)
    patches = jnp.pad(points[order], ((0, padding), (0, 0)), mode="edge")
    patches = jnp.moveaxis(patches.reshape(-1, tiles, cells, 2), -1, 1)
    everyone, no_limit = _everyone(rows), jnp.full(tiles, jnp.inf, rows.x.dtype)

    def patch(scratch, place):  # [2, tiles, cells]
        box, (x, y) = box_around(place.reshape(2, -1)), place
        kept, left = _cull(rows, everyone, n, scratch, box, k, no_limit)
        return kept, _lists(rows, kept, left, box_around(place), x, y, k, no_limit)

    found = jax.lax.scan(patch, everyone, patches)[1]  # [patches, K, tiles, cells]
    found = jnp.moveaxis(found, 1, -1).reshape(-1, k)[:count]
    return jnp.zeros_like(found).at[order].set(found)


def _everyone(rows: Rows) -> jax.Array:
    """The ids of all sites, and more: chunks are of fixed length, and the last one reaches beyond
    the last site, into repeated ids."""
    n = rows.x.shape[0]
    return alongside(jnp.arange(n + PATCH_CHUNK, dtype=jnp.int32) % n, rows)


def _evenly(count: int, most: int) -> tuple[int, int]:
    """How many parts of at most ``most`` make up ``count``, and how large they are."""
    parts = -(-count // most)
    return parts, -(-count // parts)


def _worst_known(grid: Grid, rows: Rows, near: jax.Array, corner: jax.Array) -> jax.Array:
    """float[tiles]: the worst score in the lists ``near`` of each tile of a patch.

    At every cell they name K sites that are no worse, so a site above it enters no list there.
    Where an entry is -1 that is not known, and the worst score is infinite.
    """
    last = jnp.asarray([grid.columns - 1, grid.rows - 1])[:, None, None]
    column, row = jnp.minimum(
        (corner[:, None] + TILE * places(PATCH, PATCH))[..., None] + places(TILE, TILE)[:, None],
        last,
    )
    place = [(cell * grid.cell).astype(rows.x.dtype) + grid.center for cell in (column, row)]
    ids = jnp.moveaxis(near[row, column], -1, 0)
    scores = formula.score(formula.take(rows, jnp.maximum(ids, 0)), *place)
    return jnp.max(jnp.where(ids < 0, jnp.inf, scores), axis=(0, 2))


def _cull(
    rows: Rows,
    ids: jax.Array,
    count: jax.Array | int,
    scratch: jax.Array,
    box: Box,
    k: int,
    known: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Of the first ``count`` ids those that can enter a list in the box, in their order.

    They are written into ``scratch``, whose rest is left as it was; returned with their number.
    """
    limit = jnp.minimum(_limit(rows, ids, count, box, k, PATCH_CHUNK), jnp.max(known))

    def keep(state):
        start, kept, total = state
        part, members, valid = _chunk(rows, ids, count, start, PATCH_CHUNK)
        wanted = valid & (bounds(members, box)[0] <= limit)
        place = total + jnp.cumsum(wanted) - 1
        kept = kept.at[jnp.where(wanted, place, len(kept))].set(part, mode="drop")
        return start + PATCH_CHUNK, kept, total + jnp.sum(wanted, dtype=jnp.int32)

    state = jnp.int32(0), scratch, jnp.int32(0)
    return _repeat(keep, alongside(state, rows), count, PATCH_CHUNK)[1:]


def _lists(
    rows: Rows,
    ids: jax.Array,
    count: jax.Array,
    box: Box,
    x: jax.Array,
    y: jax.Array,
    k: int,
    known: jax.Array,
) -> jax.Array:
    """int32[K, tiles, cells]: the lists of a patch from the first ``count`` ids.

    ``box``: of each tile; ``x, y``: float[tiles, cells], where lists are found.
    """
    tiles, cells = x.shape
    limit = jnp.minimum(_limit(rows, ids, count, box, k, TILE_CHUNK), known)

    def cull(state):
        start, best = state
        part, members, valid = _chunk(rows, ids, count, start, TILE_CHUNK)
        wanted = valid & (bounds(members, box)[0] <= limit[:, None])  # [tiles, chunk]
        place = jnp.where(wanted, jnp.cumsum(wanted, 1) - 1, TILE_CHUNK)
        most = jnp.max(jnp.sum(wanted, 1))
        order = jnp.zeros((tiles, TILE_CHUNK), jnp.int32)
        order = order.at[jnp.arange(tiles)[:, None], place].set(part, mode="drop")

        def better(state):
            first, best = state
            chosen = jax.lax.dynamic_slice_in_dim(order, first, SCORE_CHUNK, 1).T[..., None]
            valid = first + jnp.arange(SCORE_CHUNK)[:, None] < jnp.sum(wanted, 1)
            scores = formula.score(formula.take(rows, chosen), x, y)  # [chunk, tiles, cells]
            scores = jnp.where(valid[..., None], scores, jnp.inf)
            chosen = jnp.broadcast_to(chosen, scores.shape)
            merged = jnp.concatenate([best[0], scores]), jnp.concatenate([best[1], chosen])
            return first + SCORE_CHUNK, smallest(*merged, k)

        return start + TILE_CHUNK, _repeat(better, (jnp.int32(0), best), most, SCORE_CHUNK)[1]

    none = jnp.full((k, tiles, cells), jnp.inf, x.dtype), jnp.full((k, tiles, cells), -1, jnp.int32)
    return _repeat(cull, (jnp.int32(0), alongside(none, rows)), count, TILE_CHUNK)[1][1]


def _limit(
    rows: Rows, ids: jax.Array, count: jax.Array | int, box: Box, k: int, size: int
) -> jax.Array:
    """A score that no member of a list in the box exceeds, from the first ``count`` ids.

    The K-th smallest upper bound would do, as K sites are nowhere worse. It is found faster, if a
    little larger, among the smallest bounds of the ``PARTS`` parts of each chunk.
    """

    def lowest(state):
        start, best = state
        _, members, valid = _chunk(rows, ids, count, start, size)
        upper = jnp.where(valid, bounds(members, box)[1], jnp.inf)
        upper = jnp.min(upper.reshape(*upper.shape[:-1], -1, PARTS), axis=-2)
        merged = jnp.concatenate([best, jnp.moveaxis(upper, -1, 0)])
        places = jnp.arange(len(merged)).reshape(-1, *[1] * (merged.ndim - 1))
        return start + size, smallest(merged, jnp.broadcast_to(places, merged.shape), k)[0]

    none = jnp.full((k, *box.x.shape[:-1]), jnp.inf, rows.x.dtype)
    return _repeat(lowest, (jnp.int32(0), alongside(none, rows)), count, size)[1][-1]


def _repeat(body, state, count: jax.Array | int, size: int):
    """``body`` on the state, once for each chunk of ``count`` sites.

    Counted by chunks: XLA of jax 0.10.1 never enters ``while i < 1: i += size`` on the CPU.
    """
    return jax.lax.fori_loop(0, (count + size - 1) // size, lambda _, s: body(s), state)


def _chunk(rows: Rows, ids: jax.Array, count, start: jax.Array, size: int):
    """``size`` ids from ``start`` on, their rows, and which are among the first ``count``."""
    part = jax.lax.dynamic_slice_in_dim(ids, start, size)
    return part, formula.take(rows, part), start + jnp.arange(size) < count
