"""Lists kept by propagation: jump flooding with stochastic injection, the published way.

The list of a cell should hold the K sites of smallest score at the cell's centre, equal scores by
id. ``exact.find_candidates`` computes just that; here lists are *kept* from step to step: each pass
offers every cell a few more sites, and the best K stay. What is random is drawn for each cell by
its place, so that it does not depend on how cells lie in blocks, or in bands over devices.

A pass looks at the lists of cells far away. Over a mesh every device is therefore shown the lists
of all bands for the time of a pass, 4 K bytes a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key

from sad_jax.backend import XLA, Backend, resolve
from sad_jax.broadcasting import broadcasting
from sad_jax.lists.candidates import (
    Candidates,
    check_lists,
    in_bands,
    new_lists,
    shape_of_lists,
    smallest,
)
from sad_jax.model import score as formula
from sad_jax.model.arguments import check_key, whole
from sad_jax.model.canvas import Canvas, Grid
from sad_jax.model.score import Rows
from sad_jax.model.sites import Sites, check_sites, hilbert_index
from sad_jax.sharding import check_mesh, from_all_bands, number_of_band
from sad_jax.varying import alongside

RANDOM_IDS = 4  # stochastic injection: ids drawn from all sites, a cell and pass
HILBERT_REACH = 32  # and one id within so many places of the best site along the curve
CURVE = 2**15  # pixels a side of the square that the curve fills, whatever the canvas
SEED_ROUNDS = 4  # up to so many sites that stand in one cell are written into its list
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
SQUARE = tuple((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy)
OFFICIAL_SHIFT = 0.5  # pixels beyond a cell's centre at which the official programs find its list


def seed_candidates(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    key: Key[Array, ""],
    k: int | None = None,
    cell: int | None = None,
    mesh: Mesh | None = None,
) -> Candidates:
    """Starting lists for propagation: random sites, and each site in the cell it stands on.

    Args:
      sites: N sites.
      canvas: (H, W) in pixels, or a ``Canvas``.
      key: a JAX random key.
      k: sites a list; replaces the canvas's own.
      cell: pixels a side of a cell; replaces the canvas's own.
      mesh: devices over which the lists lie, as in ``find_candidates``.

    Returns:
      Candidates whose lists hold min(K, N) distinct sites.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((8, 8, 3)), 16, key=jax.random.key(0))
      >>> sad.seed_candidates(sites, (8, 8), key=jax.random.key(1), k=4).ids.shape
      (8, 8, 4)
    """
    check_sites(sites)
    canvas = Canvas.of(canvas, k=k, cell=cell)
    check_mesh(mesh)
    count = jax.device_put(np.int32(sites.num_sites))
    return seed(canvas, mesh, jax.lax.stop_gradient(sites), check_key(key), count)


@partial(jax.jit, static_argnums=(0, 1))
@broadcasting
def seed(
    canvas: Canvas, mesh: Mesh | None, sites: Sites, key: jax.Array, count: jax.Array
) -> Candidates:
    """``seed_candidates`` of the first ``count`` sites, at least K."""
    rows, columns, k = shape_of_lists(canvas, sites.num_sites, mesh)
    cells = jnp.arange(rows * columns, dtype=jnp.int32)
    (first,) = _draw(key, cells % columns, cells // columns, 1) % count
    spread = jnp.arange(k, dtype=jnp.int32) * (count // k)
    ids = (first.reshape(rows, columns, 1) + spread) % count
    lists = new_lists(alongside(ids, sites), canvas, sites, mesh)
    return jax.lax.fori_loop(0, SEED_ROUNDS, lambda _, lists: offer_at_home(sites, lists), lists)


@jax.jit
@broadcasting
def offer_at_home(sites: Sites, lists: Candidates) -> Candidates:
    """Offers to each cell one of the sites that stand in it and are missing from its list."""
    grid, everyone = lists.grid, jnp.arange(sites.num_sites, dtype=jnp.int32)
    column, row = grid.cell_of(sites.position)
    missing = jnp.all(lists.ids[row, column] != everyone[:, None], axis=1)
    row = jnp.where(missing, row, len(lists.ids))  # out of bounds: dropped
    # the largest id of a cell: a plain store of several would keep any of them on a GPU
    nobody = jnp.full(lists.ids.shape[:2], -1, jnp.int32)
    standing = nobody.at[row, column].max(everyone, mode="drop")
    standing = jnp.where(standing >= 0, standing, lists.ids[..., 0])

    def fresh(_, column, row, standing):
        return standing[row, column][None]

    return _merge_into(sites, lists, fresh, standing)


def propagate(
    sites: Sites,
    lists: Candidates,
    *,
    key: Key[Array, ""],
    implementation: str | Backend | None = None,
) -> Candidates:
    """One update of all lists: own, four neighbours at the jump, and injected sites.

    The published pass: each cell merges its own list, those of the 4 neighbours at distance
    ``jump``, 4 uniformly random ids and 1 id within 32 places of its best site in Hilbert order,
    and keeps the best K without repeats. The jump halves from half the longer side (rounded up to
    a power of two) to 1 over the first passes and stays 1.

    Args:
      sites: N sites.
      lists: their lists so far.
      key: a JAX random key; a fresh one for each pass.
      implementation: "xla", "cpu" or "pallas", which runs or raises; None chooses.

    Returns:
      The updated lists; a scan's carry can hold them.

    Raises:
      ValueError: lists of another number of sites, or an unknown implementation.
      NotImplementedError: the named implementation does not run here.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((8, 8, 3)), 16, key=jax.random.key(0))
      >>> lists = sad.seed_candidates(sites, (8, 8), key=jax.random.key(1))
      >>> sad.propagate(sites, lists, key=jax.random.key(2)).ids.shape
      (8, 8, 8)
    """
    check_sites(sites)
    check_lists(sites, lists)
    backend = resolve(implementation, sites, k=lists.k)
    frozen, key = jax.lax.stop_gradient(sites), check_key(key)
    return update(backend, 0.0, frozen, lists, key, *_everything(sites, lists))


def _everything(sites: Sites, lists: Candidates) -> tuple[jax.Array, jax.Array]:
    """The number of all sites, and the last cell."""
    last = np.asarray([lists.grid.columns - 1, lists.grid.rows - 1], np.int32)
    return jax.device_put((np.int32(sites.num_sites), last))


@partial(jax.jit, static_argnums=(0, 1))
@broadcasting
def update(
    backend: Backend,
    shift: float,
    sites: Sites,
    lists: Candidates,
    key: jax.Array,
    count: jax.Array,
    last: jax.Array,
) -> Candidates:
    """``propagate``, with scores taken ``shift`` pixels beyond the cells' centres.

    Random sites, and those along the curve, are from the first ``count``, and neighbours up to the
    cell ``last``, int32[2] (column, row).
    """
    grid, slots = lists.grid, jnp.arange(sites.num_sites, dtype=jnp.int32)
    jump = jnp.int32(1) << jnp.maximum(levels(grid) - 1 - lists.passes, 0)
    along_curve = hilbert_index(sites.position, CURVE)
    order = jnp.lexsort((along_curve, slots >= count)).astype(jnp.int32)
    place = jnp.zeros_like(order).at[order].set(slots)

    def fresh(ids, column, row, jump, order, place, key, count, last):
        near = [_at(ids, last, column + dx * jump, row + dy * jump) for dx, dy in NEIGHBOURS]
        *random, reach = _draw(key, column, row, RANDOM_IDS + 1)
        reach = reach % (2 * HILBERT_REACH + 1) - HILBERT_REACH
        best = _at(ids, last, column, row)[0]
        along = order[jnp.clip(place[best] + reach, 0, count - 1)]
        return jnp.concatenate([*near, jnp.stack(random) % count, along[None]])

    given = jump, order, place, key, count, last
    merged = _merge_into(sites, lists, fresh, *given, shift=shift, backend=backend)
    return merged.replace(passes=lists.passes + 1)


def _draw(key: jax.Array, column: jax.Array, row: jax.Array, count: int) -> jax.Array:
    """int32[count, cells], from 0 to 2^31 - 1: random numbers of each cell."""
    cells = (row.astype(jnp.uint32) << 16) + column.astype(jnp.uint32)
    bits = jax.vmap(lambda cell: jax.random.bits(jax.random.fold_in(key, cell), (count,)))(cells)
    return (bits >> 1).astype(jnp.int32).T


def flood_candidates(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    key: Key[Array, ""],
    passes: int = 16,
    k: int | None = None,
    cell: int | None = None,
) -> Candidates:
    """Lists as the official programs make them from a file: a jump flood, then propagation.

    Those programs find the list of a pixel half a pixel to the right of and below its centre, in
    training and in rendering alike, so files that they wrote look best with these lists.

    Args:
      sites: N sites.
      canvas: (H, W) in pixels, or a ``Canvas``.
      key: a JAX random key.
      passes: propagation passes after the flood.
      k: sites a list; replaces the canvas's own.
      cell: pixels a side of a cell; replaces the canvas's own.

    Returns:
      Candidates.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((8, 8, 3)), 16, key=jax.random.key(0))
      >>> sad.flood_candidates(sites, (8, 8), key=jax.random.key(1), passes=2).ids.shape
      (8, 8, 8)
    """
    passes = whole(passes, "passes", least=0)
    seed_key, *step_keys = jax.random.split(check_key(key), 1 + passes)
    lists = seed_candidates(sites, canvas, key=seed_key, k=k, cell=cell)
    sites = jax.lax.stop_gradient(sites)
    for level in reversed(range(levels(lists.grid))):
        lists = _flood(sites, lists, jax.device_put(np.int32(2**level)))
    done, (count, last) = np.int32(levels(lists.grid)), _everything(sites, lists)
    lists = lists.replace(passes=alongside(jax.device_put(done), lists.ids))
    for step_key in step_keys:
        lists = update(XLA, OFFICIAL_SHIFT, sites, lists, step_key, count, last)
    return lists


@jax.jit
@broadcasting
def _flood(sites: Sites, lists: Candidates, jump: jax.Array) -> Candidates:
    def fresh(ids, column, row, jump, last):
        near = [_at(ids, last, column + dx * jump, row + dy * jump) for dx, dy in SQUARE]
        return jnp.concatenate(near)

    last = jnp.asarray([lists.grid.columns - 1, lists.grid.rows - 1], jnp.int32)
    return _merge_into(sites, lists, fresh, jump, last, shift=OFFICIAL_SHIFT)


def levels(grid: Grid) -> int:
    """m, with 2^m at least the longer side in cells: so many passes jump by more than one."""
    return int(np.ceil(np.log2(max(grid.rows, grid.columns, 2))))


def _at(ids: jax.Array, last: jax.Array, column: jax.Array, row: jax.Array) -> jax.Array:
    """int32[K, lanes]: the lists of cells, beyond the border (``last``) those of the nearest."""
    return ids[jnp.clip(row, 0, last[1]), jnp.clip(column, 0, last[0])].T


def _merge_into(
    sites: Sites,
    lists: Candidates,
    fresh: Callable[..., jax.Array],
    *given: jax.Array,
    shift: float = 0.0,
    backend: Backend = XLA,
) -> Candidates:
    """Merges further ids into the lists, block by block.

    Args:
      sites: N sites.
      lists: the lists.
      fresh: (ids of all lists, columns, rows of some cells, *given) -> int32[F, lanes].
      *given: what ``fresh`` needs besides.
      shift: pixels beyond the cell's centre where scores are taken.
      backend: what merges.

    Returns:
      The merged lists; ``prepared`` is dropped.
    """

    def band(sites, own, *given):
        return _merge_band(backend, shift, lists.mesh, fresh, sites, own, *given)

    return lists.replace(ids=in_bands(band, sites, lists, shared=given), prepared=None)


def _merge_band(
    backend: Backend,
    shift: float,
    mesh: Mesh | None,
    fresh: Callable[..., jax.Array],
    sites: Sites,
    lists: Candidates,
    *given: jax.Array,
) -> jax.Array:
    """The merged ids of one band, or of a whole picture."""
    grid, rows = lists.grid, formula.site_rows(sites, lists.grid.size)
    last = jnp.asarray([[grid.width - 1], [grid.height - 1]]) if shift else jnp.inf
    ids, first = lists.ids, jnp.int32(0)
    if mesh is not None:
        ids, first = from_all_bands(mesh, ids), number_of_band(mesh) * grid.rows

    def offered(corner):
        column, row = corner // grid.cell
        place = jnp.minimum(corner.astype(rows.x.dtype) + (grid.center + shift), last)
        own = lists.ids[jnp.minimum(row, grid.rows - 1), column].T
        return jnp.concatenate([own, fresh(ids, column, row + first, *given)]), place

    def plain(corners):
        def block(corner):
            ids, place = offered(corner)
            return merge(rows, ids, place[0], place[1], lists.k)

        return jax.lax.map(block, corners)

    def kernel(kernels, launch, corners):
        ids, places = jax.vmap(offered)(corners)
        return kernels.merge_lists(rows, ids, places, lists.k, launch)

    def engine(engine, corners):
        ids, places = jax.vmap(offered)(corners)
        return engine.merge_lists(jnp.stack(rows), ids, places, lists.k)

    blocks = backend.run(grid.corners(), xla=plain, pallas=kernel, cpu=engine)
    return grid.join(blocks).reshape(lists.ids.shape)


@broadcasting
def merge(rows: Rows, ids: jax.Array, x: jax.Array, y: jax.Array, k: int) -> jax.Array:
    """The best K of ids int32[M, lanes], without repeats, by rising score, equal scores by id.

    Args:
      rows: all N sites.
      ids: int32[M, lanes], with at least K distinct ids in each lane.
      x, y: float[lanes], where the scores are taken, in pixels.
      k: K.

    Returns:
      int32[K, lanes].
    """
    return smallest(formula.score(formula.take(rows, ids), x, y), ids, k)[1]
