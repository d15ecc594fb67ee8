"""The passes over a picture in plain XLA: the readable twin of the kernels.

All of them go over blocks of cells (see ``model/canvas.py``), so that what a block needs stays in
the cache and memory does not grow with the picture; within a block arrays are [K, lanes].
``passes.py`` calls them, or the kernels of the same meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp

from sad_jax.broadcasting import broadcasting
from sad_jax.model import score as formula
from sad_jax.model.canvas import Grid
from sad_jax.model.score import Pixel, Rows
from sad_jax.model.sites import Sites
from sad_jax.varying import alongside


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


@broadcasting
def render(grid: Grid, sites: Sites, ids: jax.Array) -> jax.Array:
    """The picture, float[H, W, C], from sites and the ids [Hc, Wc, K] of their lists.

    JAX differentiates it itself, in any mode, order and precision.
    """
    table = site_table(sites, grid.size)
    block = jax.checkpoint(partial(render_block, grid))
    image = jax.lax.map(lambda args: block(table, *args), (split_ids(grid, ids), grid.corners()))
    return grid.join_image(image)


def sum_slots(
    grid: Grid,
    table: jax.Array,
    channels: int,
    ids: jax.Array,
    inputs: tuple[jax.Array, ...],
    entries: int,
    slots: Callable[..., list[jax.Array]],
    blended: Callable[..., list[jax.Array]] | None = None,
) -> jax.Array:
    """``passes.sum_over_pixels`` on a table float[7 + C + A, N] and ids int32[blocks, K, lanes]."""

    def step(sums, block):
        ids, corner, *pictures = block
        gathered = formula.gather(table, ids)
        total = jnp.zeros((entries, *ids.shape), table.dtype)
        for pixel, here in pixels_of(grid, gathered, channels, corner, pictures, blended):
            total += jnp.stack(slots(pixel, *here))
        return scatter(sums, ids, total), None

    blocks = (ids, grid.corners(), *inputs)
    none = alongside(jnp.zeros((entries, table.shape[1]), table.dtype), table, *blocks)
    half = grid.blocks // 2  # two partial sums: another order would change the last bits of files
    sums = jax.lax.scan(step, none, jax.tree.map(lambda b: b[half:], blocks))[0]
    if half:
        sums = jax.lax.scan(step, none, jax.tree.map(lambda b: b[:half], blocks))[0] + sums
    return sums


def blended_pictures(
    grid: Grid, table: jax.Array, channels: int, ids: jax.Array, blended: Callable
) -> jax.Array:
    """``passes.blend_pictures`` on a table float[7 + C + A, N] and ids int32[blocks, K, lanes]."""

    def block(args):
        ids, corner = args
        gathered = formula.gather(table, ids)
        views = pixels_of(grid, gathered, channels, corner, [], blended)
        return jnp.stack([jnp.stack([*pixel.color, *pixel.blended]) for pixel, _ in views])

    return jax.lax.map(block, (ids, grid.corners()))


def pixels_of(
    grid: Grid,
    gathered: jax.Array,
    channels: int,
    corner: jax.Array,
    pictures: list[jax.Array],
    blended: Callable[..., list[jax.Array]] | None,
) -> Iterator[tuple[Pixel, list[tuple[jax.Array, ...]]]]:
    """Every pixel of the cells of a block, and the channels of the pictures there."""
    own = len(Rows._fields) + channels
    rows, colors = split_table(gathered[:own])
    for i, (ox, oy) in enumerate(grid.offsets()):
        x, y = corner[0].astype(gathered.dtype) + ox, corner[1].astype(gathered.dtype) + oy
        phi, weights = formula.phi(rows, x, y), formula.softmax_weights(rows, x, y)
        color = blend(weights, colors)
        pixel = Pixel(rows, colors, tuple(gathered[own:]), weights, phi, x, y, color)
        here = [tuple(picture[i]) for picture in pictures]
        if blended is not None:
            change = tuple(jnp.sum(weights * v, axis=0) for v in blended(pixel, *here))
            pixel = pixel._replace(blended=change)
        yield pixel, here


def scatter(sums: jax.Array, ids: jax.Array, slots: jax.Array) -> jax.Array:
    """Adds slots [R, K, lanes] to the sites [R, N] that stand in them."""
    return jnp.stack(
        [
            total.at[ids].add(slot, mode="promise_in_bounds")
            for total, slot in zip(sums, slots, strict=True)
        ]
    )


@partial(jax.jit, static_argnums=0)
@broadcasting
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
