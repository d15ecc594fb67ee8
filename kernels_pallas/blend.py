"""The blend: pictures from lists. Also what every pass over the pixels of cells shares.

Data layout. Cells come in blocks, the cell last and fastest: ids int32[blocks, K, block], corners
int32[blocks, 2, block], pictures [blocks, P, C, block] with P = cell * cell pixels. The sites are a
table of R = 7 + C (+ attached) floats a site: [N, R] for programs that read it themselves (it is
a few megabytes and stays in the cache), or gathered by XLA to [R, blocks, K, block].

One program takes ``lanes`` neighbouring cells, one lane a cell; no lane talks to another. A loop
over the K sites of the list runs an online softmax: the smallest score so far, and the sums of the
weights and of the weighted colours relative to it. A site's row is read once for up to 4 pixels.
If asked for, a second loop forms another weighted sum (the change of colour in a product with
J'VJ). Written out are colours, or all that a site must know of a pixel (``site_sums.py``).

| a pixel, cells of one | bytes | K = 8, C = 3 | at 768x512 |
|---|---|---|---|
| its list and its corner, read | 4 (K + 2) | 40 | 16 MB |
| its colour, written | 4 C | 12 | 5 MB |
| gathered outside: rows written by XLA, and read | 8 K R | 640 | 252 MB |

It computes about K (30 + 2 C) operations a pixel, an exponential and a root among them, 0.1 Gflop
at 768x512: it is bound by instructions before it is bound by memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from kernels_pallas.launch import Launch
from sad_jax.model import score as formula
from sad_jax.model.score import Pixel, Rows

OWN = len(Rows._fields)


def blend_picture(
    table: jax.Array, ids: jax.Array, corner: jax.Array, *, cell: int, launch: Launch
) -> jax.Array:
    """The picture in blocks, float[blocks, P, C, block].

    Args:
      table: float[7 + C, N].
      ids: int32[blocks, K, block].
      corner: int32[blocks, 2, block], (x, y) of each cell's first pixel.
      cell: pixels a side of a cell.
      launch: how the kernel is launched.
    """
    work = Work(table, ids, corner, len(table) - OWN, cell, launch)
    return pictures(work, lambda softmax, _: softmax.color, work.channels)


def pictures(
    work: Work,
    values: Callable[[Softmax, tuple[jax.Array, ...]], Sequence[jax.Array]],
    channels: int,
    inputs: tuple[jax.Array, ...] = (),
    blended: Callable[..., list[jax.Array]] | None = None,
) -> jax.Array:
    """``values`` of every pixel's softmax and second weighted sum, [blocks, P, channels, block]."""

    def body(*refs):
        read, corner, *inputs, out = work.open(refs)

        def group(first):
            places, here = work.places(corner, first), work.inputs(inputs, first)
            states = softmax(work, read, places)
            second = weighted_sums(work, read, places, states, blended, here)
            for i, known in enumerate(zip(states, second, strict=True)):
                for c, value in enumerate(values(*known)):
                    out[first + i, c, :] = value

        work.for_groups(group)

    shape = (len(work.ids), work.cell**2, channels, work.ids.shape[-1])
    return work.run(body, "sad_blend", inputs, jax.ShapeDtypeStruct(shape, work.table.dtype))


Slot = tuple[Rows, tuple[jax.Array, ...], tuple[jax.Array, ...]]  # of a list: a site


class Work(NamedTuple):
    """The operands of a pass in blocks, and how a program finds its part of them."""

    table: jax.Array
    ids: jax.Array
    corner: jax.Array
    channels: int
    cell: int
    launch: Launch

    @property
    def k(self) -> int:
        return self.ids.shape[1]

    @property
    def lanes(self) -> int:
        return min(self.launch.lanes, self.ids.shape[-1])

    @property
    def pixels(self) -> int:
        """Held at once, of the P of a cell."""
        most = self.launch.pixels if self.channels <= 4 else 1
        return min(most, self.cell * self.cell)

    def run(self, body, name: str, inputs: tuple[jax.Array, ...], shape: jax.ShapeDtypeStruct):
        """Launches ``body(*refs)`` over all cells; ``open`` tells the refs apart."""
        if self.launch.gather == "inside":
            sites, spec = self.table.T, pl.BlockSpec(memory_space=pl.ANY)
        else:
            sites = formula.gather(self.table, self.ids).swapaxes(0, 1)
            spec = self.spec(sites)
        blocked = (self.ids, self.corner, *inputs)
        return self.launch.call(
            body,
            name,
            grid=(len(self.ids) * self.programs,),
            in_specs=[spec, *(self.spec(array) for array in blocked)],
            out_specs=self.spec(shape),
            out_shape=shape,
        )(sites, *blocked)

    @property
    def programs(self) -> int:
        """In a block."""
        return self.ids.shape[-1] // self.lanes

    def spec(self, array) -> pl.BlockSpec:
        """A program's part of an array [blocks, ..., block]: [..., lanes]."""
        middle = array.shape[1:-1]

        def place(program):
            return program // self.programs, *[0] * len(middle), program % self.programs

        return pl.BlockSpec((None, *middle, self.lanes), place)

    def open(self, refs):
        """The function that reads slot k, the corner, and all further refs."""
        sites, ids, corner, *rest = refs

        def read(k) -> Slot:
            if self.launch.gather == "inside":
                site = ids[k, :]
                return self.slot([sites[site, r] for r in range(len(self.table))])
            return self.slot([sites[r, k, :] for r in range(len(self.table))])

        return read, corner, *rest

    def slot(self, row: Sequence[jax.Array]) -> Slot:
        """The entries of a row of the table: the formula's, colours, attached."""
        own = OWN + self.channels
        return Rows(*row[:OWN]), tuple(row[OWN:own]), tuple(row[own:])

    def place(self, x: jax.Array, y: jax.Array, pixel) -> tuple[jax.Array, jax.Array]:
        """(x, y) of a pixel of cells with first pixels (x, y), whole numbers."""
        shift = self.cell.bit_length() - 1
        x, y = x + (pixel & (self.cell - 1)), y + (pixel >> shift)
        return x.astype(self.table.dtype), y.astype(self.table.dtype)

    def places(self, corner, first) -> list[tuple[jax.Array, jax.Array]]:
        """(x, y) of the pixels from ``first`` on that are held at once."""
        x, y = corner[0, :], corner[1, :]
        return [self.place(x, y, first + i) for i in range(self.pixels)]

    def inputs(self, pictures, first) -> list[list[tuple[jax.Array, ...]]]:
        """The channels of the pictures at the pixels from ``first`` on, for each pixel."""
        of = lambda p, i: tuple(p[first + i, c, :] for c in range(p.shape[1]))  # noqa: E731
        return [[of(picture, i) for picture in pictures] for i in range(self.pixels)]

    def width(self, blended: Callable | None, channels: Iterable[int]) -> int:
        """How many arrays ``blended`` returns, given inputs of so many channels."""
        if blended is None:
            return 0
        zeros: list[Any] = [jax.ShapeDtypeStruct((), self.table.dtype)] * len(self.table)
        rows, colors, attached = self.slot(zeros)
        phi, (zero, *_) = tuple(zeros[: formula.PHI]), zeros
        pixel = Pixel(rows, colors, attached, zero, phi, zero, zero, colors)
        return len(jax.eval_shape(blended, pixel, *((zero,) * c for c in channels)))

    def for_groups(self, group: Callable) -> None:
        """``group(first pixel)`` for all groups of pixels of the cells."""
        groups = self.cell * self.cell // self.pixels
        if groups == 1:
            group(0)
        else:
            jax.lax.fori_loop(0, groups, lambda g, _: group(g * self.pixels), None)


class Softmax(NamedTuple):
    """Of one pixel: the smallest score, the sum of exp(least - score), and the blended colour."""

    least: jax.Array
    total: jax.Array
    color: tuple[jax.Array, ...]

    def weight(self, rows: Rows, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.exp(self.least - formula.score(rows, x, y)) / self.total


def softmax(work: Work, read: Callable, places: list) -> list[Softmax]:
    """Online over the K sites of the lists, for each place."""

    def add(k, states):
        rows, colors, _ = read(k)
        new_states = []
        for state, (x, y) in zip(states, places, strict=True):
            score = formula.score(rows, x, y)
            least = jnp.minimum(state.least, score)
            old, new = jnp.exp(least - state.least), jnp.exp(least - score)
            color = [old * c + new * own for c, own in zip(state.color, colors, strict=True)]
            new_states.append(Softmax(least, old * state.total + new, tuple(color)))
        return new_states

    zero = jnp.zeros(work.lanes, work.table.dtype)
    empty = Softmax(zero + jnp.inf, zero, (zero,) * work.channels)
    states = jax.lax.fori_loop(0, work.k, add, [empty] * len(places))
    return [s._replace(color=tuple(c / s.total for c in s.color)) for s in states]


def weighted_sums(work: Work, read, places, states, blended, here) -> list[tuple[jax.Array, ...]]:
    """Sum over the list of the softmax weight times ``blended``, for each place."""
    if blended is None:
        return [()] * len(places)

    def add(k, sums):
        views = pixels_of(states, places, read(k), [()] * len(places))
        return [
            tuple(t + view.weights * v for t, v in zip(total, blended(view, *h), strict=True))
            for total, view, h in zip(sums, views, here, strict=True)
        ]

    zero = jnp.zeros(work.lanes, work.table.dtype)
    empty = (zero,) * work.width(blended, map(len, here[0]))
    return jax.lax.fori_loop(0, work.k, add, [empty] * len(places))


def pixels_of(states: list[Softmax], places: list, slot: Slot, blended: list) -> list[Pixel]:
    """What callbacks see of one slot of the list, for each place."""
    rows, colors, attached = slot
    return [
        Pixel(
            rows,
            colors,
            attached,
            state.weight(rows, x, y),
            formula.phi(rows, x, y),
            x,
            y,
            state.color,
            second,
        )
        for state, (x, y), second in zip(states, places, blended, strict=True)
    ]
