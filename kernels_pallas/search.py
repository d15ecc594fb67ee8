"""The exact search: of all sites the K of smallest score for every cell of a tile.

Data layout. Sites stand in groups of neighbours: rows of the formula as a table [groups, G, 7],
their ids int32[groups, G]. Cells stand in tiles: x, y float[tiles, 2, lanes], where their scores
are taken. For each tile the groups are ordered by a lower bound of their sites' scores in it: order
int32[tiles, groups] and bound float[tiles, groups], rising.

One program takes one tile, one lane a cell. It walks the groups in their order, scores each site of
a group at every cell and lets it sink into the cell's list, kept in registers. It stops where the
next bound exceeds the worst score in any list: no site that is left can enter one. Lanes meet in
that one comparison alone, a maximum over the program for each group.

| what | bytes | at 768x512, 50,000 sites, K = 8 |
|---|---|---|
| a cell: its place, read | 8 | 3 MB |
| a cell: its list, written | 4 K | 13 MB |
| a tile: order and bounds of all groups, read | 8 groups | 19 MB |
| a tile: each site that it walks over, from the cache | 32 M | 17 MB |

With M sites walked over it computes M (20 + 8 K) operations a cell and is bound by them. In a fit
with 8 pixels a site, tiles of 256 cells and groups of 32, M is 340 on average: 29,000 operations at
K = 8. Before it, XLA evaluates a bound of some 50 operations for every tile and site, and sorts the
groups of every tile: at this size 77 million bounds, 4 Gflop, and 19 MB to sort.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from kernels_pallas.launch import Launch
from kernels_pallas.merge import NONE, insert
from sad_jax.model import score as formula
from sad_jax.model.score import Rows

WARP = 32


def search_lists(
    rows: Rows,
    ids: jax.Array,
    order: jax.Array,
    bound: jax.Array,
    place: jax.Array,
    k: int,
    launch: Launch,
) -> jax.Array:
    """The K sites of smallest score at every place, by rising score, equal scores by id.

    Args:
      rows: the sites in groups, each float[groups, G].
      ids: int32[groups, G]; an id may be repeated, with the same row, and at least K are distinct.
      order: int32[tiles, groups], the groups by rising bound.
      bound: float[tiles, groups], below all scores of the group's sites in the tile.
      place: float[tiles, 2, lanes], (x, y) in pixels.
      k: K.
      launch: how; a tile has its own number of lanes.

    Returns:
      int32[tiles, K, lanes].
    """
    table = jnp.stack(rows, axis=-1)
    groups, size = ids.shape
    tiles, _, lanes = place.shape

    def body(table, ids, order, bound, place, out):
        tile = pl.program_id(0)
        x, y = place[0, :], place[1, :]

        def walk(state):
            step, best = state
            group = order[tile, step]

            def offer(m, best):
                site = Rows(*(table[group, m, r] for r in range(len(Rows._fields))))
                return insert(best, formula.score(site, x, y), ids[group, m])

            best = jax.lax.fori_loop(0, size, offer, best)
            least = bound[tile, jnp.minimum(step + 1, groups - 1)]
            # the end is told by the step alone: Triton crashes on a state that the body never reads
            return jnp.where(least <= jnp.max(best[-1][0]), step + 1, groups), best

        zero = jnp.zeros(lanes, jnp.int32)
        nobody = (zero.astype(x.dtype) + jnp.inf, zero + NONE)
        start = jnp.int32(0), (nobody,) * k
        _, best = jax.lax.while_loop(lambda state: state[0] < groups, walk, start)
        for i, (_, site) in enumerate(best):
            out[i, :] = site

    def spec(middle: int) -> pl.BlockSpec:
        return pl.BlockSpec((None, middle, lanes), lambda tile: (tile, 0, 0))

    anywhere = pl.BlockSpec(memory_space=pl.ANY)
    return launch.call(
        body,
        "sad_search",
        warps=max(1, lanes // WARP),
        grid=(tiles,),
        in_specs=[anywhere] * 4 + [spec(2)],
        out_specs=spec(k),
        out_shape=jax.ShapeDtypeStruct((tiles, k, lanes), jnp.int32),
    )(table, ids, order, bound, place)
