"""The exact lists of a picture: what a decoder computes.

The list of a cell is a mathematical function of the sites, so a picture defined by it is the same
on every machine and for every way of finding it. There are two ways, both by bounds of the scores
over many cells at once (``bounds.py``): ``culling.py`` for plain XLA, ``grouping.py`` for kernels.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from sad_jax.backend import Backend, resolve
from sad_jax.broadcasting import broadcasting
from sad_jax.lists.candidates import Candidates, new_lists
from sad_jax.lists.culling import search_by_culling
from sad_jax.lists.grouping import search_by_groups
from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas, Grid
from sad_jax.model.room import check_room
from sad_jax.model.score import Rows, site_rows
from sad_jax.model.sites import Sites, check_sites


def find_candidates(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    k: int | None = None,
    cell: int | None = None,
    implementation: str | Backend | None = None,
    near: Candidates | None = None,
) -> Candidates:
    """The exact list of every cell: the K sites of smallest score at the cell's centre.

    score = tau (d - r/S), see ``score.py``; equal scores are ordered by id. A deterministic
    function of the sites, and not differentiable: gradients do not flow through the choice.

    Args:
      sites: N sites.
      canvas: (H, W) in pixels, meaning K = 8 and cells of one pixel, or a ``Canvas``.
      k: sites a list, 1 to 32; replaces the canvas's own. With fewer sites lists are shorter.
      cell: pixels a side of the square that shares a list, 1, 2 or 4; replaces the canvas's own.
      implementation: "xla", "cpu" or "pallas", which runs or raises; None chooses.
      near: lists of the same canvas that these sites had a little while ago. The result does not
        depend on them; plain XLA finds it sooner.

    Returns:
      Candidates with ids int32[ceil(H / cell), ceil(W / cell), min(K, N)].

    Raises:
      ValueError: no sites, numbers below 32 bits, a K, cell, canvas or implementation out of range,
        ``near`` of others, or a canvas for which the memory is not enough (not asked within
        ``jit``, nor given ``near``).
      NotImplementedError: "pallas", where it does not run.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.find_candidates(sites, (6, 9), k=4, cell=2).ids.shape
      (3, 5, 4)
    """
    canvas = Canvas.of(canvas, k=k, cell=cell)
    check_sites(sites)
    if not (near is None or isinstance(near, Candidates)):
        raise ValueError(f"expected near, lists (Candidates) or None, got {describe(near)}")
    if near is None and not isinstance(sites.position, jax.core.Tracer):
        check_room(canvas, sites.channels)
    k = min(canvas.k, sites.num_sites)
    shape = (canvas.grid.rows, canvas.grid.columns, k)
    if near is not None and (near.ids.shape, near.num_sites) != (shape, sites.num_sites):
        raise ValueError(
            f"expected near lists of shape {shape} and {sites.num_sites} sites, "
            f"got {near.ids.shape} and {near.num_sites} sites"
        )
    backend = resolve(implementation, (sites, near), k=k)
    return _search(backend, canvas, sites, None if near is None else near.ids)


@partial(jax.jit, static_argnums=(0, 1))
@broadcasting
def _search(backend: Backend, canvas: Canvas, sites: Sites, near: jax.Array | None) -> Candidates:
    rows = site_rows(jax.lax.stop_gradient(sites), canvas.size)
    ids = search_cells(backend, canvas.grid, min(canvas.k, sites.num_sites), rows, near)
    return new_lists(ids, canvas, sites)


def search_cells(
    backend: Backend, grid: Grid, k: int, rows: Rows, near: jax.Array | None = None
) -> jax.Array:
    """The lists int32[Hc, Wc, K] of a grid, by culling; or without earlier lists by the kernel or
    in C++."""

    def kernel(kernels, launch, rows, _):
        return search_by_groups(grid, k, kernels.search_lists, launch, rows)

    def engine(engine, rows, _):
        shape = (grid.rows, grid.columns, k)
        return engine.search_lists(jnp.stack(rows), shape, cell=grid.cell)

    culling = partial(search_by_culling, grid, k)
    return backend.run(rows, near, xla=culling, pallas=kernel, cpu=engine)
