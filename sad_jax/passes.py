"""Passes over the picture: the blend with its reverse, sums for every site and for every pixel.

Here an implementation's name becomes a choice: the plain XLA twin (``render_xla.py``) or the
kernels (``kernels_pallas``), which are given the same arrays, laid out in blocks of cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from sad_jax import render_xla
from sad_jax import score as formula
from sad_jax.cells import Grid
from sad_jax.render_xla import site_table, split_ids
from sad_jax.score import Pixel
from sad_jax.sites import Sites

if TYPE_CHECKING:
    from kernels_pallas import Launch

IMPLEMENTATIONS = ("xla", "xla_vjp", "pallas", "pallas_interpret")


def launch_of(implementation: str | None, k: int, dtype) -> Launch | None:
    """How to launch the kernels on lists of K sites, or None where plain XLA is to run.

    Raises:
      ValueError: a name that is no implementation.
      NotImplementedError: "pallas", where it does not run; the message says why.
    """
    if implementation is not None and implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"expected implementation None or one of {IMPLEMENTATIONS}, got {implementation!r}"
        )
    plain = implementation in ("xla", "xla_vjp")
    if plain or (implementation is None and jax.default_backend() != "gpu"):
        return None
    import kernels_pallas

    if implementation == "pallas_interpret":
        return kernels_pallas.INTERPRETED
    reason = kernels_pallas.why_not(k, dtype)
    if reason is not None and implementation is not None:
        raise NotImplementedError(f'{reason}; use implementation=None or "xla"')
    return None if reason is not None else kernels_pallas.Launch()


Order = tuple[jax.Array, jax.Array] | None


class Lists(NamedTuple):
    """The ids int32[Hc, Wc, K] of all lists, made ready for any number of passes.

    ``order``: the lists turned around, for kernels that sum in a fixed order; else None.
    """

    ids: jax.Array
    order: Order


Ids = jax.Array | Lists


def make_ready(
    ids: jax.Array, sites: Sites, implementation: str | None, deterministic: bool
) -> Lists:
    """Does once for many passes what depends on the lists alone."""
    launch = launch_of(implementation, ids.shape[-1], sites.color.dtype)
    if launch is None or not deterministic:
        return Lists(ids, None)
    from kernels_pallas.by_site import turn_around

    return Lists(ids, turn_around(ids, sites.num_sites))


@partial(jax.custom_vjp, nondiff_argnums=(0, 3, 4))
def render_vjp(
    grid: Grid,
    sites: Sites,
    ids: jax.Array,
    implementation: str | None = "xla_vjp",
    deterministic: bool = True,
) -> jax.Array:
    """The picture of ``render_plain``, with a hand-written reverse pass.

    It keeps nothing but the sites and the lists: every block is gathered and blended again.
    """
    return _draw(grid, sites, ids, implementation)


def _draw(grid: Grid, sites: Sites, ids: jax.Array, implementation: str | None) -> jax.Array:
    launch = launch_of(implementation, ids.shape[-1], sites.color.dtype)
    if launch is None:
        return render_xla.render_plain(grid, sites, ids)
    from kernels_pallas.blend import blend

    table, blocks = site_table(sites, grid.size), split_ids(grid, ids)
    return grid.join_image(blend(table, blocks, grid.corners(), cell=grid.cell, launch=launch))


def _forward(grid, sites, ids, implementation, deterministic):
    return _draw(grid, sites, ids, implementation), (sites, ids)


def _backward(grid, implementation, deterministic, residual, cotangent: jax.Array):
    sites, ids = residual
    sums = sum_over_pixels(
        grid,
        sites,
        ids,
        formula.PHI + sites.channels,
        formula.pull_back,
        grid.split_image(cotangent),
        implementation=implementation,
        deterministic=deterministic,
    )
    return site_gradient(sites, sums, grid.size), None


render_vjp.defvjp(_forward, _backward)


def sum_over_pixels(
    grid: Grid,
    sites: Sites,
    ids: Ids,
    entries: int,
    slots: Callable[..., list[jax.Array]],
    *inputs: jax.Array,
    attached: jax.Array | None = None,
    blended: Callable[..., list[jax.Array]] | None = None,
    implementation: str | None = None,
    deterministic: bool = True,
) -> jax.Array:
    """For every site, a sum over the pixels in whose lists it stands.

    Args:
      grid: the cells.
      sites: N sites.
      ids: int32[Hc, Wc, K]; ``make_ready`` saves passes over the same lists some work.
      entries: R.
      slots: (Pixel, *inputs of the pixel) -> R arrays, what a site of the list receives; nothing
        where the inputs are zero, as they are in the padding beyond the picture's edge.
      attached: float[A, N], given to the callbacks along with the sites, as ``Pixel.attached``.
      blended: (Pixel, *inputs of the pixel) -> arrays, whose sum over the list with the softmax
        weights is ``Pixel.blended`` in ``slots``.
      *inputs: pictures as ``grid.split_image`` lays them out; of a pixel, C arrays.
      implementation: "xla" or "pallas"; None chooses.
      deterministic: the same bits every time also on a GPU, where kernels then sum in a fixed
        order, found by a sort of the lists, instead of with atomic additions. Unused where ``ids``
        are made ready.

    Returns:
      float[R, N].
    """
    lists = ids
    if not isinstance(lists, Lists):
        lists = make_ready(lists, sites, implementation, deterministic)
    table, blocks = site_table(sites, grid.size), split_ids(grid, lists.ids)
    if attached is not None:
        table = jnp.concatenate([table, attached])
    launch = launch_of(implementation, lists.ids.shape[-1], table.dtype)
    if launch is None:
        return render_xla.sum_slots(
            grid, table, sites.channels, blocks, inputs, entries, slots, blended
        )
    from kernels_pallas.fit_step import sum_slots

    return sum_slots(
        table,
        blocks,
        grid.corners(),
        inputs,
        entries,
        slots,
        blended,
        channels=sites.channels,
        cell=grid.cell,
        order=lists.order,
        launch=launch,
    )


def blend_pictures(
    grid: Grid,
    sites: Sites,
    ids: Ids,
    attached: jax.Array,
    count: int,
    blended: Callable[[Pixel], list[jax.Array]],
    *,
    implementation: str | None = None,
) -> jax.Array:
    """The picture, and a second weighted sum over the list of every pixel.

    Args:
      grid: the cells.
      sites: N sites.
      ids: int32[Hc, Wc, K].
      attached: float[A, N], given to ``blended`` along with the sites, as ``Pixel.attached``.
      count: M.
      blended: Pixel -> M arrays, whose sum over the list with the softmax weights is wanted.
      implementation: "xla" or "pallas"; None chooses.

    Returns:
      float[blocks, cell * cell, C + M, lanes], as ``grid.split_image`` lays pictures out.
    """
    lists = ids.ids if isinstance(ids, Lists) else ids
    table = jnp.concatenate([site_table(sites, grid.size), attached])
    blocks = split_ids(grid, lists)
    launch = launch_of(implementation, lists.shape[-1], table.dtype)
    if launch is None:
        return render_xla.blended_pictures(grid, table, sites.channels, blocks, blended)
    from kernels_pallas.blend import Work, pictures

    work = Work(table, blocks, grid.corners(), sites.channels, grid.cell, launch)
    both = sites.channels + count
    return pictures(work, lambda own, second: [*own.color, *second], both, (), blended)


def site_gradient(sites: Sites, sums: jax.Array, size: int) -> Sites:
    """Maps sums over pixels [6 + C, N], in (phi, colour), to a gradient of the sites' shape."""
    tangent = formula.to_tangent(sites, size, sums)
    return Sites(
        position=tangent[:2].T,
        log_tau=tangent[2],
        radius=tangent[3],
        direction=formula.angle_to_direction(tangent[4], sites.direction),
        log_aniso=tangent[5],
        color=tangent[formula.PHI :].T,
    )
