"""Sums for the sites: blend, compare and pull back; what every site receives from its pixels.

``sum_slots`` has two ways; both read pixels in blocks as ``blend.py`` lays them out, and pictures
to compare with as further inputs [blocks, P, C, block].

**In a fixed order**, the sites gather from the pixels. Data layout: the lists are transposed once
(site -> cells): cells int32[slots], for every slot of every list its cell, ordered by site and then
by cell; begin int32[N + 1], where a site's part begins. Of every pixel there is what its softmax is
made of, float[blocks, P, 2 + C (+ blended), block], which the blend writes out first. The table is
[N, R]. One program, a warp, takes one site, whose row it holds in registers. Its lanes run along
the site's cells, which are runs of neighbours; each pixel's weight is computed again from the
smallest score and the sum, the callback evaluated and added to sums in registers. At the end the
lanes are added up, and one value an entry is written. No slot of a list is ever written out,
nothing is added atomically, and the order of all sums is fixed.

| bytes | of |
|---|---|
| 4 | a slot, for its cell |
| 8 | a cell, for its corner |
| 4 (2 + C) | a pixel, for its softmax: from memory once, from the cache once a slot |
| 4 (C + 1) | a pixel, for target and weight, likewise |
| 4 entries | a site, written |

At 768x512, K = 8, C = 3, 50,000 sites that is 40 MB with gradient and curvature (50 entries), 32 MB
with the gradient alone (10); and 151 MB from the cache. Operations: some 100 a slot for the
gradient, 200 with curvature, and 10 a lane for each entry of a site to add lanes up: 0.5 and 1.4
Gflop. So it is bound by instructions. To transpose the lists is a sort of pairs, which moves 16
bytes a slot for each of four passes or so, 0.2 GB; passes over the same lists in one program share
it.

**By atomic additions**, the lists' slots hand out to the sites, and XLA adds up. One program takes
``lanes`` cells. Its first loop over the list is the blend's, and a second one the second weighted
sum's, if asked for; the last one evaluates the callback, sums it over the pixels of the cell and
writes [entries, K, lanes]. These slot sums are then scattered to the sites: on a GPU one atomic
addition for every slot and entry, in no fixed order. Beside the blend's input, a cell moves 4 K
entries bytes out, and the scatter reads them again: at K = 8, C = 3 320 for the gradient (10
entries with the energy), 1,600 for gradient and curvature (50), 96 for a product (3): 126, 629 and
38 MB at 768x512, cells of one. Operations: some 80 a slot for the gradient, 150 with curvature:
0.25 and 0.5 Gflop, and as many atomic additions as there are entries, 31 and 157 million. Neither
order nor sort is needed, which pays where lists change with every pass and entries are few.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from kernels_pallas.blend import Softmax, Work, pictures, pixels_of, softmax, weighted_sums
from kernels_pallas.launch import Launch

WARP = 32
ENTRIES_AT_ONCE = 64  # held in registers; more are done in groups
MOST_SLOT_BYTES = 2**31  # of slot sums that may exist at once


def sum_slots(
    table: jax.Array,
    ids: jax.Array,
    corner: jax.Array,
    inputs: tuple[jax.Array, ...],
    entries: int,
    slots: Callable[..., list[jax.Array]],
    blended: Callable[..., list[jax.Array]] | None = None,
    *,
    channels: int,
    cell: int,
    transposed: tuple[jax.Array, jax.Array] | None,
    launch: Launch,
) -> jax.Array:
    """For every site the sum of ``slots`` over the pixels in whose lists it stands, [entries, N].

    Args:
      table: float[7 + C + A, N].
      ids: int32[blocks, K, block].
      corner: int32[blocks, 2, block].
      inputs: pictures [blocks, P, c, block].
      entries: what ``slots`` returns.
      slots, blended: callbacks of a ``score.Pixel`` and the inputs' tuples; see ``passes.py``.
      channels: C.
      cell: pixels a side of a cell.
      transposed: the same lists by ``transpose_lists``, to sum in a fixed order; None adds
        atomically.
      launch: how the kernel is launched.
    """
    work = Work(table, ids, corner, channels, cell, launch)
    if transposed is not None:
        return gather_sums(work, transposed, inputs, entries, slots, blended)
    return scatter_sums(work, inputs, entries, slots, blended)


def scatter_sums(
    work: Work,
    inputs: tuple[jax.Array, ...],
    entries: int,
    slots: Callable[..., list[jax.Array]],
    blended: Callable[..., list[jax.Array]] | None,
) -> jax.Array:
    """``sum_slots`` by atomic additions, [entries, N]."""
    table, ids, corner = work.table, work.ids, work.corner
    sums = jnp.zeros((entries, table.shape[1]), table.dtype)

    def step(sums, part):
        ids, corner, inputs = part
        work_here = work._replace(ids=ids, corner=corner)
        received = slot_sums(work_here, inputs, entries, slots, blended)
        flat = received.swapaxes(0, 1).reshape(entries, -1)
        return sums.at[:, ids.reshape(-1)].add(flat, mode="promise_in_bounds"), None

    bytes_of_a_block = entries * ids[0].size * table.dtype.itemsize
    chunk = max(1, MOST_SLOT_BYTES // bytes_of_a_block)
    parts = (ids, corner, inputs)
    if chunk >= len(ids):
        return step(sums, parts)[0]
    padding = -len(ids) % chunk

    def split(array):
        padded = jnp.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(-1, chunk, *array.shape[1:])

    return jax.lax.scan(step, sums, jax.tree.map(split, parts))[0]


def slot_sums(
    work: Work, inputs: tuple[jax.Array, ...], entries: int, slots: Callable, blended
) -> jax.Array:
    """[blocks, entries, K, block]: what each slot of each list receives."""

    def body(*refs):
        read, corner, *pictures, out = work.open(refs)

        def group(first):
            places = work.places(corner, first)
            states, here = softmax(work, read, places), work.inputs(pictures, first)
            second = weighted_sums(work, read, places, states, blended, here)

            def write(k, _):
                views = pixels_of(states, places, read(k), second)
                received = [slots(view, *h) for view, h in zip(views, here, strict=True)]
                for entry, values in enumerate(zip(*received, strict=True)):
                    value = sum(values[1:], start=values[0])
                    if work.pixels < work.cell**2:  # a later group adds to an earlier one's sums
                        value += jnp.where(first == 0, 0, out[entry, k, :])
                    out[entry, k, :] = value

            jax.lax.fori_loop(0, work.k, write, None)

        work.for_groups(group)

    shape = (len(work.ids), entries, *work.ids.shape[1:])
    return work.run(body, "sad_slots", inputs, jax.ShapeDtypeStruct(shape, work.table.dtype))


def gather_sums(
    work: Work,
    transposed: tuple[jax.Array, jax.Array],
    inputs: tuple[jax.Array, ...],
    entries: int,
    slots: Callable[..., list[jax.Array]],
    blended: Callable[..., list[jax.Array]] | None = None,
) -> jax.Array:
    """``sum_slots`` in a fixed order, [entries, N]."""
    count = work.width(blended, (picture.shape[2] for picture in inputs))
    known = pictures(
        work,
        lambda softmax, second: [softmax.least, softmax.total, *softmax.color, *second],
        2 + work.channels + count,
        inputs if blended else (),
        blended,
    )
    sites = work.table.shape[1]
    operands = (work.table.T, *transposed, work.corner, known, *inputs)
    block, pixels, anywhere = work.ids.shape[-1], work.cell**2, pl.BlockSpec(memory_space=pl.ANY)

    def body(part: slice, table, cells, begin, corner, known, *rest):
        *inputs, out = rest
        site = pl.program_id(0)
        first, last = begin[site], begin[site + 1]
        slot = work.slot([table[site, r] for r in range(table.shape[1])])

        def add(chunk, totals):
            place = first + chunk * WARP + jnp.arange(WARP)
            cell = cells[jnp.minimum(place, last - 1)]
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

    parts = [
        slice(i, min(i + ENTRIES_AT_ONCE, entries)) for i in range(0, entries, ENTRIES_AT_ONCE)
    ]
    return jnp.concatenate([sums(part) for part in parts])


def transpose_lists(ids: jax.Array, sites: int) -> tuple[jax.Array, jax.Array]:
    """Of lists int32[..., K] the cells of all slots, ordered by site, and where a site's begin."""
    cells = jnp.arange(ids.size // ids.shape[-1], dtype=jnp.int32)
    site, cell = jax.lax.sort_key_val(ids.reshape(-1), jnp.repeat(cells, ids.shape[-1]))
    everyone = jnp.arange(sites + 1, dtype=jnp.int32)
    begin = jnp.searchsorted(site, everyone, method="scan_unrolled")
    return cell, begin.astype(jnp.int32)
