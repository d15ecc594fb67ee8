"""The fit step: blend, compare and pull back; what every site receives from the pixels it colours.

``sum_slots`` has two ways. In a fixed order, ``by_site.py``: the sites gather from the pixels. Or,
in this file, the lists' slots hand out to the sites, and XLA adds up atomically.

Data layout as in ``blend.py``, with pictures to compare with as further inputs [blocks, P, C,
block]. One program takes ``lanes`` cells. Its first loop over the list is the blend's, and a second
one the second weighted sum's, if asked for; the last one evaluates the callback, sums it over the
pixels of the cell and writes [entries, K, lanes]. These slot sums are then scattered to the sites:
on a GPU one atomic addition for every slot and entry, in no fixed order.

Bytes a cell must at least move, beside the blend's input: 4 K entries out, and the scatter reads
them again. At K = 8, C = 3 that is 320 for the gradient (10 entries with the energy), 1,600 for
gradient and curvature (50), 96 for a product (3): 126, 629 and 38 MB at 768x512, cells of one.
Operations: some 80 a slot for the gradient, 150 with curvature: 0.25 and 0.5 Gflop, and as many
atomic additions as there are entries, 31 and 157 million. Neither order nor sort is needed, which
pays where lists change with every pass and entries are few.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kernels_pallas.blend import Work, pixels_of, softmax, weighted_sums
from kernels_pallas.by_site import sum_by_site
from kernels_pallas.config import Launch

LARGEST = 2**31  # bytes of slot sums that may exist at once


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
    order: tuple[jax.Array, jax.Array] | None,
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
      order: of the same lists, by ``by_site.turn_around``, to sum in a fixed order.
      launch: see there.
    """
    work = Work(table, ids, corner, channels, cell, launch)
    if order is not None:
        return sum_by_site(work, order, inputs, entries, slots, blended)
    sums = jnp.zeros((entries, table.shape[1]), table.dtype)

    def step(sums, part):
        ids, corner, inputs = part
        work_here = work._replace(ids=ids, corner=corner)
        received = slot_sums(work_here, inputs, entries, slots, blended)
        flat = received.swapaxes(0, 1).reshape(entries, -1)
        return sums.at[:, ids.reshape(-1)].add(flat, mode="promise_in_bounds"), None

    bytes_of_a_block = entries * ids[0].size * table.dtype.itemsize
    chunk = max(1, LARGEST // bytes_of_a_block)
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
