"""The exact lists of a picture: what a decoder computes.

The list of a cell is a mathematical function of the sites, so a picture defined by it is the same
on every machine and for every way of finding it. There are two ways, both by bounds of the scores
over many cells at once (``bounds.py``): ``culling.py`` for plain XLA, ``grouping.py`` for kernels.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sad_jax.backend import Backend, resolve
from sad_jax.broadcasting import broadcasting
from sad_jax.lists.candidates import Candidates, new_lists, shape_of_lists
from sad_jax.lists.culling import search_by_culling
from sad_jax.lists.grouping import search_by_groups
from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas, Grid
from sad_jax.model.room import check_room
from sad_jax.model.score import Rows, site_rows
from sad_jax.model.sites import Sites, check_sites
from sad_jax.sharding import check_mesh, over_bands, platform_of


def find_candidates(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    k: int | None = None,
    cell: int | None = None,
    implementation: str | Backend | None = None,
    near: Candidates | None = None,
    mesh: Mesh | None = None,
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
      mesh: devices, of ``sad_jax.sharding.make_mesh``, each of which searches its band of rows. The
        lists then lie there in bands, and ``render`` and all that takes them goes by bands, too.
        None takes that of ``near``.

    Returns:
      Candidates with ids int32[ceil(H / cell), ceil(W / cell), min(K, N)], of a mesh with rows up
      to a multiple of its devices.

    Raises:
      ValueError: no sites, numbers below 32 bits, a K, cell, canvas or implementation out of range,
        ``near`` of others, another kind of mesh, or a canvas for which the memory is not enough
        (not asked within ``jit``, nor given ``near``).
      NotImplementedError: "pallas", where it does not run.

    Examples:
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
    check_mesh(mesh)
    mesh = near.mesh if near is not None and mesh is None else mesh
    shape = shape_of_lists(canvas, sites.num_sites, mesh)
    if near is not None and near.mesh != mesh:
        raise ValueError(f"expected near lists over the same mesh, got lists over {near.mesh}")
    if near is not None and (near.ids.shape, near.num_sites) != (shape, sites.num_sites):
        raise ValueError(
            f"expected near lists of shape {shape} and {sites.num_sites} sites, "
            f"got {near.ids.shape} and {near.num_sites} sites"
        )
    platform = platform_of(mesh)
    backend = resolve(implementation, (sites, near), k=shape[-1], platform=platform)
    return _search(backend, canvas, mesh, sites, None if near is None else near.ids)


@partial(jax.jit, static_argnums=(0, 1, 2))
@broadcasting
def _search(
    backend: Backend, canvas: Canvas, mesh: Mesh | None, sites: Sites, near: jax.Array | None
) -> Candidates:
    band = canvas if mesh is None else canvas.band(mesh.size)
    k, sites = min(canvas.k, sites.num_sites), jax.lax.stop_gradient(sites)

    def search(sites: Sites, near: jax.Array | None) -> jax.Array:
        return search_cells(backend, band.grid, k, site_rows(sites, band.size), near)

    if mesh is None:
        return new_lists(search(sites, near), canvas, sites)
    return new_lists(over_bands(mesh, canvas.grid, search, sites, near), canvas, sites, mesh)


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
