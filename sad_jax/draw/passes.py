"""Passes over the picture: the blend with its reverse, sums for every site and for every pixel.

Each is written once, as a callback of a ``score.Pixel``; the backend runs it by plain XLA
(``xla.py``) or by the kernels, which are given the same arrays, laid out in blocks of cells. The
CPU engine has the passes under their names. Where the lists lie in bands over devices, each of them
passes over its band.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax.backend import Backend
from sad_jax.broadcasting import broadcasting
from sad_jax.draw import xla
from sad_jax.draw.xla import site_table, split_ids
from sad_jax.lists.candidates import Candidates, in_bands
from sad_jax.model import score as formula
from sad_jax.model.score import Pixel
from sad_jax.model.sites import Sites
from sad_jax.model.tangent import site_gradient
from sad_jax.with_transpose import linear

Callback = Callable[..., list[jax.Array]]


class SitePass(NamedTuple):
    """A sum for every site over the pixels in whose lists it stands: what it is, and its name.

    ``name``: in the CPU engine; ``entries``: R, how many numbers a site receives; ``slots``:
    (Pixel, *inputs of the pixel) -> R arrays, what a site of the list receives; nothing where the
    inputs are zero, as they are in the padding beyond the picture's edge; ``blended``: (Pixel,
    *inputs of the pixel) -> arrays, whose sum over the list with the softmax weights is
    ``Pixel.blended`` in ``slots``; ``loss`` and ``numbers``: what the engine must know besides.
    """

    name: str
    entries: int
    slots: Callback
    blended: Callback | None = None
    loss: str = "squared"
    numbers: tuple[float, ...] = ()


def prepare(backend: Backend, sites: Sites, lists: Candidates) -> Candidates:
    """Does once for many passes what depends on the lists alone."""
    if not backend.prepares_lists or lists.prepared is not None:
        return lists

    def own(sites: Sites, lists: Candidates):
        return backend.run(
            lists.ids,
            xla=lambda ids: None,
            pallas=lambda kernels, _, ids: kernels.transpose_lists(ids, lists.num_sites),
            cpu=lambda engine, ids: engine.group_lists(ids, lists.num_sites),
        )

    return lists.replace(prepared=in_bands(own, sites, lists))


@partial(jax.jit, static_argnums=0)
def draw(backend: Backend, sites: Sites, lists: Candidates) -> jax.Array:
    """The picture float[H, W, C]; "xla" has JAX's own derivatives, others a hand-written one."""

    def band(sites: Sites, lists: Candidates) -> jax.Array:
        if backend.name == "xla":
            return xla.render(lists.grid, sites, lists.ids)
        return _draw_by_hand(backend, sites, lists)

    return in_bands(band, sites, lists)[: lists.canvas.height]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _draw_by_hand(backend: Backend, sites: Sites, lists: Candidates) -> jax.Array:
    """It keeps nothing but the sites and the lists: every block is gathered and blended again."""
    grid = lists.grid

    def plain(sites, ids, _):
        return xla.render(grid, sites, ids)

    def kernel(kernels, launch, sites, ids, _):
        operands = site_table(sites, grid.size), split_ids(grid, ids), grid.corners()
        return grid.join_image(kernels.blend_picture(*operands, cell=grid.cell, launch=launch))

    def engine(engine, sites, ids, prepared):
        members = _members(engine, sites, ids, prepared)
        shape = (grid.blocks, grid.cell**2, sites.channels, grid.block)
        image = engine.blend_picture(site_table(sites, grid.size), members, shape, cell=grid.cell)
        return grid.join_image(image)

    return backend.run(sites, lists.ids, lists.prepared, xla=plain, pallas=kernel, cpu=engine)


def _members(engine, sites: Sites, ids: jax.Array, prepared: jax.Array | None) -> jax.Array:
    """What the CPU engine's passes read in the place of lists, found here if it is not at hand."""
    return engine.group_lists(ids, sites.num_sites) if prepared is None else prepared


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
    sums = pull_back(backend, sites, lists, lists.grid.split_image(cotangent))
    return site_gradient(sites, lists.grid.size, sums)


def pull_back(backend: Backend, sites: Sites, lists: Candidates, image: jax.Array) -> jax.Array:
    """J' times a picture in blocks, in (phi, colour), float[6 + C, N]."""
    pass_ = SitePass("pull_back", formula.PHI + sites.channels, formula.pull_back)
    return sum_over_pixels(backend, sites, lists, pass_, image)


@broadcasting
def sum_over_pixels(
    backend: Backend,
    sites: Sites,
    lists: Candidates,
    pass_: SitePass,
    *inputs: jax.Array,
    attached: jax.Array | None = None,
) -> jax.Array:
    """For every site, a sum over the pixels in whose lists it stands.

    Args:
      backend: what runs it.
      sites: N sites.
      lists: their lists; ``prepare`` saves passes over the same lists some work.
      pass_: what is summed.
      *inputs: pictures as ``grid.split_image`` lays them out; of a pixel, C arrays.
      attached: float[A, N], given to the callbacks along with the sites, as ``Pixel.attached``.

    Returns:
      float[R, N].
    """
    band = partial(_sum_over_band, backend, pass_)
    return in_bands(band, sites, lists, inputs, shared=(attached,), summed=True)


def _sum_over_band(
    backend: Backend,
    pass_: SitePass,
    sites: Sites,
    lists: Candidates,
    inputs: tuple[jax.Array, ...],
    attached: jax.Array | None,
) -> jax.Array:
    grid, channels = lists.grid, sites.channels
    callbacks = pass_.entries, pass_.slots, pass_.blended

    def plain(table, ids, _, inputs):
        return xla.sum_slots(grid, table, channels, split_ids(grid, ids), inputs, *callbacks)

    def kernel(kernels, launch, table, ids, prepared, inputs):
        if prepared is None and backend.deterministic:
            prepared = kernels.transpose_lists(ids, sites.num_sites)
        return kernels.sum_slots(
            table,
            split_ids(grid, ids),
            grid.corners(),
            inputs,
            *callbacks,
            channels=channels,
            cell=grid.cell,
            transposed=prepared,
            launch=launch,
        )

    def engine(engine, table, ids, prepared, inputs):
        members = _members(engine, sites, ids, prepared)
        told = {"cell": grid.cell, "loss": pass_.loss, "numbers": pass_.numbers}
        return engine.sum_members(pass_.name, table, members, inputs, pass_.entries, **told)

    operands = _table(sites, grid.size, attached), lists.ids, lists.prepared, inputs
    return backend.run(*operands, xla=plain, pallas=kernel, cpu=engine)


class PicturePass(NamedTuple):
    """A second weighted sum over the list of every pixel, beside the colour.

    ``entries``: M, how many numbers; ``blended``: Pixel -> M arrays, whose sum over the list with
    the softmax weights is wanted; ``finish``: (colours [blocks, P, C, lanes], sums [blocks, P, M,
    lanes], *inputs) -> the picture in blocks; ``loss`` and ``numbers``: what the engine must know
    besides.
    """

    entries: int
    blended: Callable[[Pixel], list[jax.Array]]
    finish: Callable[..., jax.Array]
    loss: str = "squared"
    numbers: tuple[float, ...] = ()


@broadcasting
def blend_pictures(
    backend: Backend,
    sites: Sites,
    lists: Candidates,
    pass_: PicturePass,
    attached: jax.Array,
    *inputs: jax.Array,
) -> jax.Array:
    """A picture of a second weighted sum over the list of every pixel.

    Args:
      backend: what runs it.
      sites: N sites.
      lists: their lists.
      pass_: which sum, and what becomes of it.
      attached: float[A, N], given to the callback along with the sites, as ``Pixel.attached``.
      *inputs: pictures as ``grid.split_image`` lays them out.

    Returns:
      float[blocks, cell * cell, ..., lanes].
    """
    return in_bands(partial(_blend_band, backend, pass_), sites, lists, inputs, shared=(attached,))


def _blend_band(
    backend: Backend,
    pass_: PicturePass,
    sites: Sites,
    lists: Candidates,
    inputs: tuple[jax.Array, ...],
    attached: jax.Array,
) -> jax.Array:
    grid, channels = lists.grid, sites.channels

    def finished(drawn, inputs):
        return pass_.finish(drawn[:, :, :channels], drawn[:, :, channels:], *inputs)

    def plain(table, ids, _, inputs):
        blocks = split_ids(grid, ids)
        drawn = xla.blended_pictures(grid, table, channels, blocks, pass_.blended)
        return finished(drawn, inputs)

    def kernel(kernels, launch, table, ids, _, inputs):
        blocks = split_ids(grid, ids)
        work = kernels.Work(table, blocks, grid.corners(), channels, grid.cell, launch)
        values = lambda own, second: [*own.color, *second]  # noqa: E731
        drawn = kernels.pictures(work, values, channels + pass_.entries, (), pass_.blended)
        return finished(drawn, inputs)

    def engine(engine, table, ids, prepared, inputs):
        members = _members(engine, sites, ids, prepared)
        told = {"cell": grid.cell, "loss": pass_.loss, "numbers": pass_.numbers}
        return engine.change_of_picture(table, members, inputs, pass_.entries, **told)

    operands = _table(sites, grid.size, attached), lists.ids, lists.prepared, inputs
    return backend.run(*operands, xla=plain, pallas=kernel, cpu=engine)


def _table(sites: Sites, size: int, attached: jax.Array | None) -> jax.Array:
    """float[7 + C + A, N]: all that the passes read of a site."""
    table = site_table(sites, size)
    return table if attached is None else jnp.concatenate([table, attached])
