"""The fit step: blend, compare and pull back in one pass; what every slot of a list receives.

Data layout as in ``blend.py``, with pictures to compare with as further inputs [blocks, P, C,
block]. One program takes ``lanes`` cells. Its first loop over the list is the blend's; a second,
if asked for, forms another weighted sum (the change of colour in a product with J'VJ); the last one
evaluates the callback, sums it over the pixels of the cell and writes [entries, K, lanes]. These
slot sums are then added up to the sites (``reduce.py``).

Bytes a cell must at least move, beside the blend's input: 4 K entries out, and the reduction reads
them again. At K = 8, C = 3 that is 320 for the gradient (10 entries with the energy), 1,600 for
gradient and curvature (50), 288 for a product (9): 126, 629 and 113 MB at 768x512, cells of one.
Operations: some 80 a slot for the gradient, 150 with curvature: 0.25 and 0.5 Gflop.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kernels_pallas.blend import OWN, Work, pixels_of, softmax
from kernels_pallas.config import Launch
from kernels_pallas.reduce import add_up
from sad_jax.score import Rows

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
    deterministic: bool,
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
      deterministic: sum in a fixed order.
      launch: see there.
    """
    sums = jnp.zeros((entries, table.shape[1]), table.dtype)

    def step(sums, part):
        received = slot_sums(
            Work(table, part[0], part[1], channels, cell, launch), part[2], entries, slots, blended
        )
        return add_up(sums, part[0], received, deterministic, launch), None

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
            states = softmax(work, read, places)
            here = [
                [tuple(p[first + i, c, :] for c in range(p.shape[1])) for p in pictures]
                for i in range(len(places))
            ]
            second: list[tuple[jax.Array, ...]] = [()] * len(places)
            if blended is not None:
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


def weighted_sums(work: Work, read, places, states, blended, here) -> list[tuple[jax.Array, ...]]:
    """Sum over the list of the softmax weight times ``blended``, for each place."""

    def add(k, sums):
        views = pixels_of(states, places, read(k), [()] * len(places))
        return [
            tuple(t + view.weights * v for t, v in zip(total, blended(view, *h), strict=True))
            for total, view, h in zip(sums, views, here, strict=True)
        ]

    zero = jnp.zeros(work.lanes, work.table.dtype)
    attached = (zero,) * (len(work.table) - OWN - work.channels)
    nobody = Rows(*[zero] * OWN), (zero,) * work.channels, attached
    view = pixels_of(states[:1], places[:1], nobody, [()])[0]
    empty = (zero,) * len(blended(view, *here[0]))
    return jax.lax.fori_loop(0, work.k, add, [empty] * len(places))
