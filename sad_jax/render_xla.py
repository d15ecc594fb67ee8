"""The renderer in plain XLA: a readable forward, and the hand-written reverse of it.

``render_plain`` is differentiated by JAX itself, in any mode, order and precision.
``render_vjp`` is the same picture with a hand-written reverse pass (``jax.custom_vjp``) that keeps
nothing but the sites and the lists: every block of cells is gathered and blended again.
Both go over blocks of cells (see ``cells.py``), so memory does not grow with blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax import score as formula
from sad_jax.cells import Grid
from sad_jax.score import Rows
from sad_jax.sites import Sites


def site_table(sites: Sites, size: int) -> jax.Array:
    """float[7 + C, N]: the rows of the formula, then the colours."""
    return jnp.concatenate([jnp.stack(formula.site_rows(sites, size)), sites.color.T])


def split_table(table: jax.Array) -> tuple[Rows, jax.Array]:
    """Undoes ``site_table``, also after a gather: Rows, and colours with the channel first."""
    return Rows(*table[: len(Rows._fields)]), table[len(Rows._fields) :]


def blend(weights: jax.Array, colors: jax.Array) -> jax.Array:
    """Sum over the K slots of weights [K, lanes] times colours [C, K, lanes] -> [C, lanes]."""
    return jnp.sum(weights * colors, axis=1)


def render_block(grid: Grid, table: jax.Array, ids: jax.Array, corner: jax.Array) -> jax.Array:
    """One block: ids int32[K, lanes], corner int32[2, lanes] -> float[cell * cell, C, lanes]."""
    rows, colors = split_table(formula.gather(table, ids))
    x, y = corner.astype(table.dtype)
    return jnp.stack(
        [blend(formula.softmax_weights(rows, x + ox, y + oy), colors) for ox, oy in grid.offsets()]
    )


def split_ids(grid: Grid, ids: jax.Array) -> jax.Array:
    """[Hc, Wc, K] -> [blocks, K, lanes]."""
    return grid.split(ids.reshape(-1, ids.shape[-1]))


def render_plain(grid: Grid, sites: Sites, ids: jax.Array) -> jax.Array:
    """The picture, float[H, W, C], from sites and the ids [Hc, Wc, K] of their lists."""
    table = site_table(sites, grid.size)
    block = jax.checkpoint(partial(render_block, grid))
    image = jax.lax.map(lambda args: block(table, *args), (split_ids(grid, ids), grid.corners()))
    return grid.join_image(image)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def render_vjp(grid: Grid, sites: Sites, ids: jax.Array) -> jax.Array:
    """``render_plain`` with the reverse pass below."""
    return render_plain(grid, sites, ids)


def _forward(grid: Grid, sites: Sites, ids: jax.Array):
    return render_plain(grid, sites, ids), (sites, ids)


def _backward(grid: Grid, residual, cotangent: jax.Array):
    sites, ids = residual

    entries = formula.PHI + sites.channels
    pictures = (grid.split_image(cotangent),)
    sums = sum_over_pixels(grid, sites, ids, entries, pull_back, *pictures)
    return site_gradient(sites, sums, grid.size), None


render_vjp.defvjp(_forward, _backward)


class Pixel(NamedTuple):
    """One pixel of every cell of a block, and the K slots of its list, as the formula gives them.

    ``rows`` and ``weights`` are [K, lanes], ``colors`` [C, K, lanes], ``color`` [C, lanes] the
    blend, ``x`` and ``y`` [lanes], ``attached`` [A, K, lanes] what the caller gave along.
    """

    rows: Rows
    colors: jax.Array
    weights: jax.Array
    color: jax.Array
    x: jax.Array
    y: jax.Array
    attached: jax.Array


def sum_over_pixels(
    grid: Grid,
    sites: Sites,
    ids: jax.Array,
    entries: int,
    slots: Callable[..., jax.Array],
    *inputs: jax.Array,
    attached: jax.Array | None = None,
) -> jax.Array:
    """For every site, a sum over the pixels in whose lists it stands.

    Args:
      grid: the cells.
      sites: N sites.
      ids: int32[Hc, Wc, K].
      entries: R.
      slots: (Pixel, *inputs of the pixel) -> [R, K, lanes], what each slot of the list receives.
      attached: float[A, N], gathered along with the sites, as ``Pixel.attached``.
      *inputs: pictures as ``grid.split_image`` lays them out; a pixel's part is [C, lanes].

    Returns:
      float[R, N].
    """
    table = site_table(sites, grid.size)
    own = len(table)
    if attached is not None:
        table = jnp.concatenate([table, attached])

    def step(sums, block):
        ids, corner, *inputs = block
        near = formula.gather(table, ids)
        rows, colors = split_table(near[:own])
        total = jnp.zeros((entries, *ids.shape), table.dtype)
        for i, (ox, oy) in enumerate(grid.offsets()):
            x, y = corner[0].astype(table.dtype) + ox, corner[1].astype(table.dtype) + oy
            weights = formula.softmax_weights(rows, x, y)
            pixel = Pixel(rows, colors, weights, blend(weights, colors), x, y, near[own:])
            total += slots(pixel, *(picture[i] for picture in inputs))
        return scatter(sums, ids, total), None

    blocks = (split_ids(grid, ids), grid.corners(), *inputs)
    half = grid.blocks // 2
    sums = jnp.zeros((entries, sites.num_sites), table.dtype)
    first = jax.lax.scan(step, sums, jax.tree.map(lambda b: b[:half], blocks))[0]
    return first + jax.lax.scan(step, sums, jax.tree.map(lambda b: b[half:], blocks))[0]


def pull_back(pixel: Pixel, cotangent: jax.Array) -> jax.Array:
    """Gradients [6 + C, K, lanes] of the slots, in (phi, colour), of a cotangent [C, lanes]."""
    contrast = pixel.colors - pixel.color[:, None]
    logit = pixel.weights * jnp.sum(cotangent[:, None] * contrast, axis=0)
    geometry = [logit * entry for entry in formula.phi(pixel.rows, pixel.x, pixel.y)]
    return jnp.concatenate([jnp.stack(geometry), pixel.weights * cotangent[:, None]])


def scatter(sums: jax.Array, ids: jax.Array, slots: jax.Array) -> jax.Array:
    """Adds slots [R, K, lanes] to the sites [R, N] that stand in them."""
    return jnp.stack(
        [
            total.at[ids].add(slot, mode="promise_in_bounds")
            for total, slot in zip(sums, slots, strict=True)
        ]
    )


def site_gradient(sites: Sites, sums: jax.Array, size: int) -> Sites:
    """Maps sums over pixels [6 + C, N], in (phi, colour), to a gradient of the sites' shape."""
    chain = formula.chain(formula.site_rows(sites, size), size)
    geometry = jnp.einsum("gpn,pn->gn", chain, sums[: formula.PHI], precision="highest")
    return Sites(
        position=geometry[:2].T,
        log_tau=geometry[2],
        radius=geometry[3],
        direction=formula.angle_to_direction(geometry[4], sites.direction),
        log_aniso=geometry[5],
        color=sums[formula.PHI :].T,
    )


@partial(jax.jit, static_argnums=0)
def owners(grid: Grid, sites: Sites, ids: jax.Array) -> jax.Array:
    """int32[H, W]: of each pixel's list the site of largest weight."""
    table = site_table(sites, grid.size)

    def block(args):
        ids, (x, y) = args
        rows, _ = split_table(formula.gather(table, ids))
        best = [
            jnp.argmin(formula.score(rows, x + ox, y + oy), axis=0) for ox, oy in grid.offsets()
        ]
        return jnp.stack([jnp.take_along_axis(ids, slot[None], 0) for slot in best])

    return grid.join_image(jax.lax.map(block, (split_ids(grid, ids), grid.corners())))[..., 0]
