"""Passes over the picture: the blend with its reverse, sums for every site and for every pixel.

Each is written once, as a callback of a ``score.Pixel``; the backend runs it by plain XLA
(``xla.py``) or by the kernels, which are given the same arrays, laid out in blocks of cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from sad_jax.backend import Backend
from sad_jax.broadcasting import broadcasting
from sad_jax.draw import xla
from sad_jax.draw.xla import site_table, split_ids
from sad_jax.lists.candidates import Candidates
from sad_jax.model import score as formula
from sad_jax.model.score import Pixel
from sad_jax.model.sites import Sites
from sad_jax.model.tangent import site_gradient
from sad_jax.with_transpose import linear

Callback = Callable[..., list[jax.Array]]


def prepare(backend: Backend, lists: Candidates) -> Candidates:
    """Does once for many passes what depends on the lists alone: transposes them for kernels."""
    if not backend.wants_transposed_lists or lists.transposed is not None:
        return lists
    transposed = backend.run(
        lambda ids: None,
        lambda kernels, _, ids: kernels.transpose_lists(ids, lists.num_sites),
        lists.ids,
    )
    return lists.replace(transposed=transposed)


@partial(jax.jit, static_argnums=0)
def draw(backend: Backend, sites: Sites, lists: Candidates) -> jax.Array:
    """The picture float[H, W, C]; "xla" has JAX's own derivatives, others a hand-written one."""
    if backend.name == "xla":
        return xla.render(lists.grid, sites, lists.ids)
    return _draw_by_hand(backend, sites, lists)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _draw_by_hand(backend: Backend, sites: Sites, lists: Candidates) -> jax.Array:
    """It keeps nothing but the sites and the lists: every block is gathered and blended again."""
    grid = lists.grid

    def kernel(kernels, launch, sites, ids):
        operands = site_table(sites, grid.size), split_ids(grid, ids), grid.corners()
        return grid.join_image(kernels.blend_picture(*operands, cell=grid.cell, launch=launch))

    return backend.run(partial(xla.render, grid), kernel, sites, lists.ids)


@_draw_by_hand.defjvp
def _change(backend: Backend, primals, tangents):
    """The change of the picture: by plain XLA, or transposed by the hand-written reverse pass."""
    image = _draw_by_hand(backend, *primals)
    return image, linear(_push, partial(_pull, backend), primals, tangents[0])


def _push(primals, change: Sites) -> jax.Array:
    sites, lists = primals
    draw = partial(xla.render, lists.grid, ids=lists.ids)
    return jax.jvp(draw, (sites,), (change,))[1]


@broadcasting
def _pull(backend: Backend, primals, cotangent: jax.Array) -> Sites:
    sites, lists = primals
    entries = formula.PHI + sites.channels
    image = lists.grid.split_image(cotangent)
    sums = sum_over_pixels(backend, sites, lists, entries, formula.pull_back, image)
    return site_gradient(sites, lists.grid.size, sums)


@broadcasting
def sum_over_pixels(
    backend: Backend,
    sites: Sites,
    lists: Candidates,
    entries: int,
    slots: Callback,
    *inputs: jax.Array,
    attached: jax.Array | None = None,
    blended: Callback | None = None,
) -> jax.Array:
    """For every site, a sum over the pixels in whose lists it stands.

    Args:
      backend: what runs it.
      sites: N sites.
      lists: their lists; ``prepare`` saves passes over the same lists some work.
      entries: R.
      slots: (Pixel, *inputs of the pixel) -> R arrays, what a site of the list receives; nothing
        where the inputs are zero, as they are in the padding beyond the picture's edge.
      *inputs: pictures as ``grid.split_image`` lays them out; of a pixel, C arrays.
      attached: float[A, N], given to the callbacks along with the sites, as ``Pixel.attached``.
      blended: (Pixel, *inputs of the pixel) -> arrays, whose sum over the list with the softmax
        weights is ``Pixel.blended`` in ``slots``.

    Returns:
      float[R, N].
    """
    grid, channels = lists.grid, sites.channels
    table = _table(sites, grid.size, attached)

    def plain(table, blocks, _, inputs):
        return xla.sum_slots(grid, table, channels, blocks, inputs, entries, slots, blended)

    def kernel(kernels, launch, table, blocks, transposed, inputs):
        if transposed is None and backend.deterministic:
            transposed = kernels.transpose_lists(lists.ids, sites.num_sites)
        return kernels.sum_slots(
            table,
            blocks,
            grid.corners(),
            inputs,
            entries,
            slots,
            blended,
            channels=channels,
            cell=grid.cell,
            transposed=transposed,
            launch=launch,
        )

    blocks = split_ids(grid, lists.ids)
    return backend.run(plain, kernel, table, blocks, lists.transposed, inputs)


@broadcasting
def blend_pictures(
    backend: Backend,
    sites: Sites,
    lists: Candidates,
    attached: jax.Array,
    count: int,
    blended: Callable[[Pixel], list[jax.Array]],
) -> jax.Array:
    """The picture, and a second weighted sum over the list of every pixel.

    Args:
      backend: what runs it.
      sites: N sites.
      lists: their lists.
      attached: float[A, N], given to ``blended`` along with the sites, as ``Pixel.attached``.
      count: M.
      blended: Pixel -> M arrays, whose sum over the list with the softmax weights is wanted.

    Returns:
      float[blocks, cell * cell, C + M, lanes], as ``grid.split_image`` lays pictures out.
    """
    grid, channels = lists.grid, sites.channels

    def plain(table, blocks):
        return xla.blended_pictures(grid, table, channels, blocks, blended)

    def kernel(kernels, launch, table, blocks):
        work = kernels.Work(table, blocks, grid.corners(), channels, grid.cell, launch)
        values = lambda own, second: [*own.color, *second]  # noqa: E731
        return kernels.pictures(work, values, channels + count, (), blended)

    return backend.run(
        plain, kernel, _table(sites, grid.size, attached), split_ids(grid, lists.ids)
    )


def _table(sites: Sites, size: int, attached: jax.Array | None) -> jax.Array:
    """float[7 + C + A, N]: all that the passes read of a site."""
    table = site_table(sites, size)
    return table if attached is None else jnp.concatenate([table, attached])
