"""The merge of lists: of M ids offered to a cell, the K of smallest score, without repeats.

Data layout: ids int32[blocks, M, block], the cell last; the rows of the formula as a table [N, 7]
that programs read by id; place float[blocks, 2, block], where a cell's scores are taken. One
program takes ``lanes`` cells, one lane a cell. It goes over the M ids once and keeps the best K in
registers, in order: an id that is there already is dropped, another one sinks to its place by
comparing and exchanging (score, id) with each entry.

| a cell | bytes | propagation, K = 8 | at 768x512 |
|---|---|---|---|
| ids offered and its place, read | 4 (M + 2) | 188 | 74 MB |
| its list, written | 4 K | 32 | 13 MB |
| were the rows gathered outside | 56 M | 2,520 | 991 MB |

A propagation offers M = 45: the own list, those of four neighbours, five injected sites. Operations
are M (20 + 8 K), 3,800 a cell and 1.5 Gflop: it is bound by instructions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from kernels_pallas.launch import Launch
from sad_jax.model import score as formula
from sad_jax.model.score import Rows

NONE = 2**31 - 1  # no site


def merge_lists(rows: Rows, ids: jax.Array, place: jax.Array, k: int, launch: Launch) -> jax.Array:
    """The best K of the ids offered to every cell, by rising score, equal scores by id.

    Args:
      rows: all N sites.
      ids: int32[blocks, M, block], with at least K distinct ids in each lane.
      place: float[blocks, 2, block], (x, y) in pixels where the scores are taken.
      k: K.
      launch: how the kernel is launched.

    Returns:
      int32[blocks, K, block].
    """
    table = jnp.stack(rows, axis=-1)
    blocks, offered, block = ids.shape
    lanes = min(launch.lanes, block)
    programs = block // lanes

    def body(table, ids, place, out):
        x, y = place[0, :], place[1, :]

        def offer(m, best):
            new = ids[m, :]
            row = Rows(*(table[new, r] for r in range(len(Rows._fields))))
            return insert(best, formula.score(row, x, y), new)

        zero = jnp.zeros(lanes, jnp.int32)
        nobody = (zero.astype(x.dtype) + jnp.inf, zero + NONE)
        best = jax.lax.fori_loop(0, offered, offer, (nobody,) * k)
        for i, (_, site) in enumerate(best):
            out[i, :] = site

    def spec(middle: int) -> pl.BlockSpec:
        def place(program):
            return program // programs, 0, program % programs

        return pl.BlockSpec((None, middle, lanes), place)

    return launch.call(
        body,
        "sad_merge",
        grid=(blocks * programs,),
        in_specs=[pl.BlockSpec(memory_space=pl.ANY), spec(offered), spec(2)],
        out_specs=spec(k),
        out_shape=jax.ShapeDtypeStruct((blocks, k, block), jnp.int32),
    )(table, ids, place)


def insert(best: tuple, score: jax.Array, site: jax.Array) -> tuple:
    """Puts a site into lists of (score, site) in rising order, unless there; the last drops."""
    there = best[0][1] == site
    for _, own in best[1:]:
        there |= own == site
    score, site = jnp.where(there, jnp.inf, score), jnp.where(there, NONE, site)
    after = []
    for own_score, own in best:
        better = (score < own_score) | ((score == own_score) & (site < own))
        after.append((jnp.where(better, score, own_score), jnp.where(better, site, own)))
        score, site = jnp.where(better, own_score, score), jnp.where(better, own, site)
    return tuple(after)
