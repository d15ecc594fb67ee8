"""Candidates: which K sites a cell sees, kept by propagation or found exactly.

The list of a cell holds the K sites of smallest score at the cell's centre, equal scores by id.
``find_candidates`` (in ``search.py``) computes just that; here the lists are *kept* from step to
step the published way: jump flooding with stochastic injection.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sad_jax import score as formula
from sad_jax.canvas import Canvas
from sad_jax.cells import Grid, map_blocks
from sad_jax.passes import launch_of
from sad_jax.score import Rows
from sad_jax.sites import Sites, hilbert_index

RANDOM_IDS = 4  # stochastic injection: ids drawn from all sites, a cell and pass
HILBERT_REACH = 32  # and one id within so many places of the best site along the curve
SEED_ROUNDS = 4  # so many sites that stand in one cell are all written into its list
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
OFFICIAL_SHIFT = 0.5  # pixels beyond a cell's centre at which the official programs find its list
SQUARE = tuple((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy)


class Candidates(flax.struct.PyTreeNode):
    """The lists of all cells of a canvas.

    Attributes:
      ids: int32[Hc, Wc, K], sites by rising score, without repeats; K is at most N.
      passes: int32[], propagation passes so far (it sets the jump of the next one).
      height, width: the canvas in pixels (static).
      cell: pixels a side of a cell (static); Hc = ceil(H / cell), Wc = ceil(W / cell).
    """

    ids: jax.Array
    passes: jax.Array
    height: int = flax.struct.field(pytree_node=False)
    width: int = flax.struct.field(pytree_node=False)
    cell: int = flax.struct.field(pytree_node=False)

    @property
    def k(self) -> int:
        return self.ids.shape[-1]

    @property
    def shape(self) -> Canvas:
        return Canvas((self.height, self.width), k=self.k, cell=self.cell)

    @property
    def grid(self) -> Grid:
        return Grid(self.height, self.width, self.cell)


def canvas_of(shape, k: int | None, cell: int | None) -> Canvas:
    """The canvas ``shape`` with K and cell size: the arguments', else its own, else 8 and 1."""
    k = getattr(shape, "k", 8) if k is None else k
    cell = getattr(shape, "cell", 1) if cell is None else cell
    return Canvas(tuple(shape), k=k, cell=cell)


def seed_candidates(
    sites: Sites,
    shape: tuple[int, int],
    *,
    key: jax.Array,
    k: int | None = None,
    cell: int | None = None,
) -> Candidates:
    """Starting lists for propagation: random sites, and each site in the cell it stands on.

    Args:
      sites: N sites.
      shape: (H, W) in pixels.
      key: a JAX random key.
      k: sites a list; a ``Canvas`` carries its own.
      cell: pixels a side of a cell; a ``Canvas`` carries its own.

    Returns:
      Candidates whose lists hold min(K, N) distinct sites.
    """
    canvas = canvas_of(shape, k, cell)
    grid = Grid(*canvas, canvas.cell)
    return _seed(grid, min(canvas.k, sites.num_sites), jax.lax.stop_gradient(sites), key)


@partial(jax.jit, static_argnums=(0, 1))
def _seed(grid: Grid, k: int, sites: Sites, key: jax.Array) -> Candidates:
    n = sites.num_sites
    first = jax.random.randint(key, (grid.rows, grid.columns, 1), 0, n, jnp.int32)
    spread = jnp.arange(k, dtype=jnp.int32) * (n // k)
    lists = Candidates((first + spread) % n, jnp.int32(0), grid.height, grid.width, grid.cell)
    return jax.lax.fori_loop(0, SEED_ROUNDS, lambda _, lists: write_home(lists, sites), lists)


@jax.jit
def write_home(lists: Candidates, sites: Sites) -> Candidates:
    """Offers to each cell one of the sites that stand in it and are missing from its list."""
    grid, everyone = lists.grid, jnp.arange(sites.num_sites, dtype=jnp.int32)
    column, row = grid.cell_of(sites.position)
    missing = jnp.all(lists.ids[row, column] != everyone[:, None], axis=1)
    row = jnp.where(missing, row, grid.rows)  # out of bounds: dropped
    standing = lists.ids[..., 0].at[row, column].set(everyone, mode="drop")
    return _merge_into(lists, sites, lambda _, column, row: standing[row, column][None])


def propagate(
    lists: Candidates, sites: Sites, *, key: jax.Array, implementation: str | None = None
) -> Candidates:
    """One update of all lists: own, four neighbours at the jump, and injected sites.

    The published pass: each cell merges its own list, those of the 4 neighbours at distance
    ``jump``, 4 uniformly random ids and 1 id within 32 places of its best site in Hilbert order,
    and keeps the best K without repeats. The jump halves from half the longer side (rounded up to
    a power of two) to 1 over the first passes and stays 1.

    Args:
      lists: the lists so far.
      sites: N sites.
      key: a JAX random key; a fresh one for each pass.
      implementation: "xla" or "pallas", which runs or raises; None chooses.

    Returns:
      The updated lists; a scan's carry can hold them.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((8, 8, 3)), 16, key=jax.random.key(0))
      >>> lists = sad.seed_candidates(sites, (8, 8), key=jax.random.key(1))
      >>> sad.propagate(lists, sites, key=jax.random.key(2)).ids.shape
      (8, 8, 8)
    """
    return _propagate(lists, jax.lax.stop_gradient(sites), key, implementation=implementation)


@partial(jax.jit, static_argnames=("shift", "implementation"))
def _propagate(
    lists: Candidates,
    sites: Sites,
    key: jax.Array,
    shift: float = 0.0,
    implementation: str | None = None,
) -> Candidates:
    grid, n = lists.grid, sites.num_sites
    jump = jnp.int32(1) << jnp.maximum(_levels(grid) - 1 - lists.passes, 0)
    order = jnp.argsort(hilbert_index(sites.position, grid.size)).astype(jnp.int32)
    place = jnp.zeros_like(order).at[order].set(jnp.arange(n, dtype=jnp.int32))

    def fresh(block, column, row):
        random_key, hilbert_key = jax.random.split(jax.random.fold_in(key, block))
        near = [_lists_at(lists, column + dx * jump, row + dy * jump) for dx, dy in NEIGHBOURS]
        random = jax.random.randint(random_key, (RANDOM_IDS, len(row)), 0, n, jnp.int32)
        reach = jax.random.randint(hilbert_key, row.shape, -HILBERT_REACH, HILBERT_REACH + 1)
        along = order[jnp.clip(place[lists.ids[row, column, 0]] + reach, 0, n - 1)]
        return jnp.concatenate([*near, random, along[None]])

    merged = _merge_into(lists, sites, fresh, shift, implementation)
    return merged.replace(passes=lists.passes + 1)


def flood_candidates(
    sites: Sites,
    shape: tuple[int, int],
    *,
    key: jax.Array,
    passes: int = 16,
    k: int | None = None,
    cell: int | None = None,
) -> Candidates:
    """Lists as the official programs make them from a file: a jump flood, then propagation.

    Those programs find the list of a pixel half a pixel to the right of and below its centre, in
    training and in rendering alike, so files that they wrote look best with these lists.

    Args:
      sites: N sites.
      shape: (H, W) in pixels.
      key: a JAX random key.
      passes: propagation passes after the flood.
      k: sites a list; a ``Canvas`` carries its own.
      cell: pixels a side of a cell; a ``Canvas`` carries its own.

    Returns:
      Candidates.
    """
    lists = seed_candidates(sites, shape, key=key, k=k, cell=cell)
    sites = jax.lax.stop_gradient(sites)
    for level in reversed(range(_levels(lists.grid))):
        lists = _flood(lists, sites, jnp.int32(2**level))
    lists = lists.replace(passes=jnp.int32(_levels(lists.grid)))  # the long jumps are done
    for step_key in jax.random.split(key, passes):
        lists = _propagate(lists, sites, step_key, OFFICIAL_SHIFT)
    return lists


@jax.jit
def _flood(lists: Candidates, sites: Sites, jump: jax.Array) -> Candidates:
    def fresh(_, column, row):
        near = [_lists_at(lists, column + dx * jump, row + dy * jump) for dx, dy in SQUARE]
        return jnp.concatenate(near)

    return _merge_into(lists, sites, fresh, OFFICIAL_SHIFT)


def _levels(grid: Grid) -> int:
    """m, with 2^m at least the longer side in cells."""
    return int(np.ceil(np.log2(max(grid.rows, grid.columns, 2))))


def _lists_at(lists: Candidates, column: jax.Array, row: jax.Array) -> jax.Array:
    """int32[K, lanes]: the lists of cells, beyond the border those of the nearest cell."""
    column = jnp.clip(column, 0, lists.grid.columns - 1)
    return lists.ids[jnp.clip(row, 0, lists.grid.rows - 1), column].T


def _merge_into(
    lists: Candidates,
    sites: Sites,
    fresh: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    shift: float = 0.0,
    implementation: str | None = None,
) -> Candidates:
    """Merges further ids into the lists, block by block.

    Args:
      lists: the lists.
      sites: N sites.
      fresh: (number of the block, columns, rows of its cells) -> int32[F, lanes].
      shift: pixels beyond the cell's centre where scores are taken.
      implementation: "xla" or "pallas"; None chooses.

    Returns:
      The merged lists.
    """
    grid, rows = lists.grid, formula.site_rows(sites, lists.grid.size)
    last = jnp.asarray([[grid.width - 1], [grid.height - 1]]) if shift else jnp.inf

    def offered(number, corner):
        column, row = corner // grid.cell
        place = jnp.minimum(corner.astype(rows.x.dtype) + (grid.center + shift), last)
        return jnp.concatenate([_lists_at(lists, column, row), fresh(number, column, row)]), place

    def block(args):
        ids, place = offered(*args)
        return merge(rows, ids, place[0], place[1], lists.k)

    numbered = jnp.arange(grid.blocks), grid.corners()
    launch = launch_of(implementation, lists.k, rows.x.dtype)
    if launch is None:
        blocks = map_blocks(block, numbered)
    else:
        from kernels_pallas.propagate import merge as merge_blocks

        ids, places = jax.vmap(offered)(*numbered)
        blocks = merge_blocks(rows, ids, places, lists.k, launch)
    return lists.replace(ids=grid.join(blocks).reshape(lists.ids.shape))


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


def smallest(scores: jax.Array, ids: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The K smallest scores along axis 0 and their ids, without repeats, equal scores by id."""
    best = []
    for _ in range(k):
        score = jnp.min(scores, 0)
        least = jnp.min(jnp.where(scores == score, ids, jnp.iinfo(jnp.int32).max), 0)
        best.append((score, least))
        scores = jnp.where(ids == least, jnp.inf, scores)
    return jnp.stack([score for score, _ in best]), jnp.stack([least for _, least in best])
