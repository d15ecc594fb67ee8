"""The exact lists of a picture, by culling: what a decoder computes.

The list of a cell is a mathematical function of the sites, so a picture defined by it is the same
on every machine. Going over all sites for every cell would be slow; instead the canvas is cut into
regions, regions into patches and patches into tiles of cells. A site's score over a box lies
between two bounds; a site whose lower bound exceeds the K-th smallest upper bound cannot enter a
list there. Sites are culled for a region, what is left for each of its patches, what is left then
for each tile, and the rest is scored at every cell. Every loop runs over as many sites as there
are: nothing overflows, so the lists are always exact.

A GPU is slow at such loops. There the sites are put into groups of neighbours, the groups ordered
for each tile by their lower bounds, and a kernel walks them until no list can change any more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from sad_jax.backend import Backend, resolve
from sad_jax.lists.candidates import Candidates, new_lists, smallest
from sad_jax.model import score as formula
from sad_jax.model.canvas import Canvas
from sad_jax.model.grid import Grid, halves
from sad_jax.model.score import Rows
from sad_jax.model.sites import Sites, hilbert_index

if TYPE_CHECKING:
    from kernels_pallas import Launch

TILE = 8  # cells a side
PATCH = 4  # tiles a side, searched at once
REGION = 4  # patches a side, at most, for which sites are culled first
PATCH_CHUNK = 4096  # sites culled at once for a patch
TILE_CHUNK = 512  # and for its tiles
PARTS = 64  # parts that a chunk is cut into, at least K, see ``_limit``
SCORE_CHUNK = 32  # sites scored at once in every tile
SLACK = 1e-5  # relative room for rounding in the bounds
KERNEL_TILE = 16  # cells a side, for a program of the kernel
GROUP = 32  # sites
BOUNDS = 2**25  # of groups in tiles that may exist at once


def find_candidates(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    k: int | None = None,
    cell: int | None = None,
    implementation: str | Backend | None = None,
    near: Candidates | None = None,
) -> Candidates:
    """The exact list of every cell: the K sites of smallest score at the cell's centre.

    score = tau (d - r/S), see ``score.py``; equal scores are ordered by id. A deterministic
    function of the sites, and not differentiable: gradients do not flow through the choice.

    Args:
      sites: N sites.
      canvas: (H, W) in pixels, meaning K = 8 and cells of one pixel, or a ``Canvas``.
      k: sites a list, 1 to 32; replaces the canvas's own. With fewer sites lists are shorter.
      cell: pixels a side of the square that shares a list, 1, 2 or 4; replaces the canvas's own.
      implementation: "xla" or "pallas", which runs or raises; None chooses.
      near: lists of the same canvas that these sites had a little while ago. The result does not
        depend on them; plain XLA finds it sooner. An id of -1 stands for a site that is no more.

    Returns:
      Candidates with ids int32[ceil(H / cell), ceil(W / cell), min(K, N)].

    Raises:
      ValueError: no sites, a K, cell, canvas or implementation out of range, or ``near`` of others.
      NotImplementedError: "pallas", where it does not run.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.find_candidates(sites, (6, 9), k=4, cell=2).ids.shape
      (3, 5, 4)
    """
    canvas = Canvas.of(canvas, k=k, cell=cell)
    if sites.num_sites < 1:
        raise ValueError("expected at least one site, got none")
    k, sites = min(canvas.k, sites.num_sites), jax.lax.stop_gradient(sites)
    shape = (canvas.grid.rows, canvas.grid.columns, k)
    if near is None:
        known = jnp.full(shape, -1, jnp.int32)
    elif near.ids.shape == shape and near.num_sites == sites.num_sites:
        known = near.ids
    else:
        raise ValueError(
            f"expected near lists of shape {shape} and {sites.num_sites} sites, "
            f"got {near.ids.shape} and {near.num_sites} sites"
        )
    backend = resolve(implementation, sites, k=k)
    ids = backend.run(
        partial(_search, canvas.grid, k),
        lambda kernels, launch, sites, _: _search_groups(
            canvas.grid, k, kernels.search_lists, launch, sites
        ),
        sites,
        known,
    )
    return new_lists(ids, canvas, sites)


@partial(jax.jit, static_argnums=(0, 1))
def _search(grid: Grid, k: int, sites: Sites, near: jax.Array) -> jax.Array:
    """int32[Hc, Wc, K]: the lists, region by region, in each patch by patch."""
    n, side = sites.num_sites, PATCH * TILE
    rows = formula.site_rows(sites, grid.size)
    # a chunk may begin at any site and reach beyond the last one
    everyone = jnp.arange(n + PATCH_CHUNK, dtype=jnp.int32) % n
    (regions_y, per_y), (regions_x, per_x) = (
        _evenly(-(-cells // side), REGION) for cells in (grid.rows, grid.columns)
    )
    anything = jnp.full(PATCH * PATCH, jnp.inf, rows.x.dtype)
    patches = _places(per_x, per_y).T * side

    def region(scratch, corner):  # corner: (x, y) of its first cell
        box = _box(grid, corner, jnp.asarray([per_x, per_y]) * side)
        around, count = _cull(rows, everyone, n, scratch, box, k, anything)

        def patch(scratch, offset):
            first = corner + offset
            known = _worst_known(grid, rows, near, first)
            box = _box(grid, first, side)
            kept, left = _cull(rows, around, count, scratch, box, k, known)
            return kept, _lists(grid, rows, kept, left, first, k, known)

        return around, jax.lax.scan(patch, everyone, patches)[1]

    corners = _places(regions_x, regions_y).T * side * jnp.asarray([per_x, per_y])
    parts = [jax.lax.scan(region, everyone, part)[1] for part in halves(corners)]
    lists = jnp.concatenate(parts)
    lists = lists.reshape(regions_y, regions_x, per_y, per_x, k, PATCH, PATCH, TILE, TILE)
    lists = lists.transpose(0, 2, 5, 7, 1, 3, 6, 8, 4)
    lists = lists.reshape(regions_y * per_y * side, regions_x * per_x * side, k)
    return lists[: grid.rows, : grid.columns]


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
        (corner[:, None] + TILE * _places(PATCH, PATCH))[..., None] + _places(TILE, TILE)[:, None],
        last,
    )
    place = [(cell * grid.cell).astype(rows.x.dtype) + grid.center for cell in (column, row)]
    ids = jnp.moveaxis(near[row, column], -1, 0)
    scores = formula.score(formula.take(rows, jnp.maximum(ids, 0)), *place)
    return jnp.max(jnp.where(ids < 0, jnp.inf, scores), axis=(0, 2))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _search_groups(grid: Grid, k: int, search: Callable, launch: Launch, sites: Sites) -> jax.Array:
    """int32[Hc, Wc, K]: the lists, tile by tile, by the kernel ``search``."""
    side, rows = KERNEL_TILE, formula.site_rows(sites, grid.size)
    along = jnp.argsort(hilbert_index(sites.position, grid.size)).astype(jnp.int32)
    ids = jnp.pad(along, (0, -sites.num_sites % GROUP), mode="edge").reshape(-1, GROUP)
    grouped = formula.take(rows, ids)
    tiles_y, tiles_x = -(-grid.rows // side), -(-grid.columns // side)
    tiles, chunk = tiles_y * tiles_x, max(1, BOUNDS // len(ids))
    chunk = min(chunk, tiles)
    last = jnp.asarray([grid.columns - 1, grid.rows - 1])

    def lists(corner):  # [2, tiles]: (x, y) of their first cells
        lower = jnp.min(_bounds(grouped, _box(grid, corner[..., None, None], side))[0], axis=-1)
        groups = jnp.broadcast_to(jnp.arange(len(ids), dtype=jnp.int32), lower.shape)
        bound, order = jax.lax.sort((lower, groups), num_keys=1)
        cells = jnp.minimum(corner.T[..., None] + _places(side, side), last[:, None])
        place = (cells * grid.cell).astype(rows.x.dtype) + grid.center
        return search(grouped, ids, order, bound, place, k, launch)

    corner = side * jnp.stack(jnp.meshgrid(jnp.arange(tiles_x), jnp.arange(tiles_y)))
    corner = jnp.pad(corner.reshape(2, tiles), ((0, 0), (0, -tiles % chunk)), mode="edge")
    found = jax.lax.map(lists, corner.reshape(2, -1, chunk).swapaxes(0, 1))
    found = found.reshape(-1, k, side * side)[:tiles].reshape(tiles_y, tiles_x, k, side, side)
    found = found.transpose(0, 3, 1, 4, 2).reshape(tiles_y * side, tiles_x * side, k)
    return found[: grid.rows, : grid.columns]


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
        wanted = valid & (_bounds(members, box)[0] <= limit)
        place = total + jnp.cumsum(wanted) - 1
        kept = kept.at[jnp.where(wanted, place, len(kept))].set(part, mode="drop")
        return start + PATCH_CHUNK, kept, total + jnp.sum(wanted, dtype=jnp.int32)

    state = jnp.int32(0), scratch, jnp.int32(0)
    return _repeat(keep, state, count, PATCH_CHUNK)[1:]


def _lists(
    grid: Grid,
    rows: Rows,
    ids: jax.Array,
    count: jax.Array,
    corner: jax.Array,
    k: int,
    known: jax.Array,
) -> jax.Array:
    """int32[K, tiles, cells]: the lists of a patch from the first ``count`` ids."""
    tiles, cells = PATCH * PATCH, TILE * TILE
    tile = corner[:, None] + TILE * _places(PATCH, PATCH)
    box = _box(grid, tile[..., None], TILE)
    limit = jnp.minimum(_limit(rows, ids, count, box, k, TILE_CHUNK), known)
    x, y = (tile[..., None] + _places(TILE, TILE)[:, None]) * float(grid.cell) + grid.center

    def cull(state):
        start, best = state
        part, members, valid = _chunk(rows, ids, count, start, TILE_CHUNK)
        wanted = valid & (_bounds(members, box)[0] <= limit[:, None])  # [tiles, chunk]
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
    return _repeat(cull, (jnp.int32(0), none), count, TILE_CHUNK)[1][1]


def _limit(
    rows: Rows, ids: jax.Array, count: jax.Array | int, box: Box, k: int, size: int
) -> jax.Array:
    """About the K-th smallest upper bound of the first ``count`` ids: no list is worse anywhere.

    About, as only the smallest bound of each ``PARTS``-th part of the sites is looked at.
    """

    def lowest(state):
        start, best = state
        _, members, valid = _chunk(rows, ids, count, start, size)
        upper = jnp.where(valid, _bounds(members, box)[1], jnp.inf)
        upper = jnp.min(upper.reshape(*upper.shape[:-1], -1, PARTS), axis=-2)
        merged = jnp.concatenate([best, jnp.moveaxis(upper, -1, 0)])
        places = jnp.arange(len(merged)).reshape(-1, *[1] * (merged.ndim - 1))
        return start + size, smallest(merged, jnp.broadcast_to(places, merged.shape), k)[0]

    none = jnp.full((k, *box.x.shape[:-1]), jnp.inf, rows.x.dtype)
    return _repeat(lowest, (jnp.int32(0), none), count, size)[1][-1]


class Box(NamedTuple):
    """Middles and half extents, in pixels, of the centres of squares of cells: [..., 1] each."""

    x: jax.Array
    y: jax.Array
    half_x: jax.Array
    half_y: jax.Array


def _box(grid: Grid, corner: jax.Array, side: int | jax.Array) -> Box:
    """The boxes of squares of cells with first cells ``corner`` [2, ...], within the grid.

    ``side`` may also be [2], width and height.
    """
    corner = corner.reshape(2, *(corner.shape[1:] or (1,)))
    side = jnp.broadcast_to(jnp.asarray(side), 2).reshape(2, *[1] * (corner.ndim - 1))
    last = jnp.asarray([grid.columns - 1, grid.rows - 1]).reshape(2, *[1] * (corner.ndim - 1))
    low, high = jnp.minimum(corner, last), jnp.minimum(corner + side - 1, last)
    middle = (low + high) * (0.5 * grid.cell) + grid.center
    return Box(*middle, *((high - low) * (0.5 * grid.cell)))


def _bounds(rows: Rows, box: Box) -> tuple[jax.Array, jax.Array]:
    """Bounds of the scores of sites over boxes, with room for rounding."""
    dx, dy = box.x - rows.x, box.y - rows.y
    middle = jnp.hypot(*formula.metric_offset(rows, dx, dy))
    corners = [formula.metric_offset(rows, box.half_x, s * box.half_y) for s in (1, -1)]
    reach = jnp.maximum(*(jnp.hypot(*corner) for corner in corners))
    outside = jnp.hypot(jnp.maximum(abs(dx) - box.half_x, 0), jnp.maximum(abs(dy) - box.half_y, 0))
    shortest = jnp.hypot(rows.fx, rows.fy) * jnp.minimum(rows.h, 1) * outside
    least = jnp.sqrt(formula.SQUARED_DISTANCE_MIN)
    nearest = jnp.maximum(jnp.maximum(middle - reach, shortest), least)
    farthest = jnp.maximum(middle + reach, least)
    slack = SLACK * (farthest + abs(rows.radius))
    return (
        rows.tau * (nearest - rows.radius - slack),
        rows.tau * (farthest - rows.radius + slack),
    )


def _repeat(body, state, count: jax.Array | int, size: int):
    """``body`` on the state, once for each chunk of ``count`` sites.

    Counted by chunks: XLA of jax 0.10.1 never enters ``while i < 1: i += size`` on the CPU.
    """
    return jax.lax.fori_loop(0, (count + size - 1) // size, lambda _, s: body(s), state)


def _chunk(rows: Rows, ids: jax.Array, count, start: jax.Array, size: int):
    """``size`` ids from ``start`` on, their rows, and which are among the first ``count``."""
    part = jax.lax.dynamic_slice_in_dim(ids, start, size)
    return part, formula.take(rows, part), start + jnp.arange(size) < count


def _places(columns: int, rows: int) -> jax.Array:
    """int32[2, rows * columns]: (x, y) of the places of a rectangle, row by row."""
    index = jnp.arange(rows * columns, dtype=jnp.int32)
    return jnp.stack([index % columns, index // columns])
