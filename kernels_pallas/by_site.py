"""The fit step from the sites' side: each site goes over the pixels in whose lists it stands.

Data layout. The lists are turned around once: cells int32[slots], for every slot of every list its
cell, ordered by site and then by cell; begin int32[N + 1], where a site's part begins. Pixels lie
in blocks as in ``blend.py``: what their softmax is made of, float[blocks, P, 2 + C (+ blended),
block], which that kernel writes out first, and the pictures to compare with. The table is [N, R].

One program, a warp, takes one site, whose row it holds in registers. Its lanes run along the site's
cells, which are runs of neighbours; each pixel's weight is computed again from the smallest score
and the sum, the callback evaluated and added to sums in registers. At the end the lanes are added
up, and one value an entry is written. No slot of a list is ever written out, nothing is added
atomically, and the order of all sums is fixed.

Bytes: 4 a slot for its cell; 8 for a cell's corner, 4 (2 + C) for a pixel's softmax, 4 (C + 1) for
target and weight, from memory once and from the cache once a slot; 4 entries a site out. At
768x512, K = 8, C = 3, 50,000 sites that is 40 MB with gradient and curvature (50 entries), 32 MB
with the gradient alone (10), where slot sums are 629 and 126 MB, written and read; and 151 MB from
the cache. Operations: some 100 a slot for the gradient, 200 with curvature, and 10 a lane for each
entry of a site to add lanes up: 0.5 and 1.4 Gflop. So it is bound by instructions. To turn the
lists around is a sort of pairs, which moves 16 bytes a slot for each of four passes or so, 0.2 GB;
passes over the same lists in one program share it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from kernels_pallas.blend import Softmax, Work, pictures, pixels_of

WARP = 32
MOST = 64  # entries that are held in registers at once; more are done in groups


def sum_by_site(
    work: Work,
    order: tuple[jax.Array, jax.Array],
    inputs: tuple[jax.Array, ...],
    entries: int,
    slots: Callable[..., list[jax.Array]],
    blended: Callable[..., list[jax.Array]] | None = None,
) -> jax.Array:
    """``fit_step.sum_slots`` by lists that have been turned around, [entries, N]."""
    count = work.width(blended, (picture.shape[2] for picture in inputs))
    known = pictures(
        work,
        lambda softmax, second: [softmax.least, softmax.total, *softmax.color, *second],
        2 + work.channels + count,
        inputs if blended else (),
        blended,
    )
    sites = work.table.shape[1]
    operands = (work.table.T, *order, work.corner, known, *inputs)
    block, pixels, anywhere = work.ids.shape[-1], work.cell**2, pl.BlockSpec(memory_space=pl.ANY)

    def body(part: slice, table, order, begin, corner, known, *rest):
        *inputs, out = rest
        site = pl.program_id(0)
        first, last = begin[site], begin[site + 1]
        slot = work.slot([table[site, r] for r in range(table.shape[1])])

        def add(chunk, totals):
            place = first + chunk * WARP + jnp.arange(WARP)
            cell = order[jnp.minimum(place, last - 1)]
            at, lane = cell // block, cell % block
            x, y = corner[at, 0, lane], corner[at, 1, lane]

            def add_pixel(i, totals):
                read = lambda p: [p[at, i, c, lane] for c in range(p.shape[2])]  # noqa: E731
                least, total, *values = read(known)
                softmax = Softmax(least, total, tuple(values[: work.channels]))
                second = tuple(values[work.channels :])
                view = pixels_of([softmax], [work.place(x, y, i)], slot, [second])[0]
                # a lane beyond the site's last cell sees inputs of zero, so it receives nothing
                here = [tuple(jnp.where(place < last, v, 0) for v in read(p)) for p in inputs]
                received = slots(view, *here)[part]
                return tuple(t + r for t, r in zip(totals, received, strict=True))

            return jax.lax.fori_loop(0, pixels, add_pixel, totals)

        zero = jnp.zeros(WARP, work.table.dtype)
        chunks = (last - first + WARP - 1) // WARP
        totals = jax.lax.fori_loop(0, chunks, add, (zero,) * (part.stop - part.start))
        for entry, total in enumerate(totals):
            out[entry, site] = jnp.sum(total)

    def sums(part: slice) -> jax.Array:
        shape = (part.stop - part.start, sites)
        return work.launch.call(
            partial(body, part),
            "sad_sites",
            warps=1,
            grid=(sites,),
            in_specs=[anywhere] * len(operands),
            out_specs=anywhere,
            out_shape=jax.ShapeDtypeStruct(shape, work.table.dtype),
        )(*operands)

    parts = [slice(i, min(i + MOST, entries)) for i in range(0, entries, MOST)]
    return jnp.concatenate([sums(part) for part in parts])


def turn_around(ids: jax.Array, sites: int) -> tuple[jax.Array, jax.Array]:
    """Of lists int32[..., K] the cells in which each site stands, and where its part begins."""
    cells = jnp.arange(ids.size // ids.shape[-1], dtype=jnp.int32)
    site, cell = jax.lax.sort_key_val(ids.reshape(-1), jnp.repeat(cells, ids.shape[-1]))
    everyone = jnp.arange(sites + 1, dtype=jnp.int32)
    begin = jnp.searchsorted(site, everyone, method="scan_unrolled")
    return cell, begin.astype(jnp.int32)
