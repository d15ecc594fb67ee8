"""One large picture over many devices: bands of the canvas, sites everywhere.

A list and a pixel depend on the sites and on their own place only, so a band needs nothing of its
neighbours: every device holds all sites and a band of the cells, and no seam can show. The reverse
pass sums the sites' gradients over the devices (the transpose of handing the sites to all).

A band is a smaller canvas with the sites moved by the band's first pixel. The canvas is cut across
its longer side's direction, so that S = max(W, H) is that of a band as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec

from sad_jax import search
from sad_jax.candidates import Candidates, canvas_of
from sad_jax.canvas import Canvas
from sad_jax.cells import Grid
from sad_jax.render import check_sites
from sad_jax.render import render as draw
from sad_jax.sites import Sites


def make_mesh(devices: Sequence[jax.Device] | None = None, *, axis: str = "bands") -> Mesh:
    """The devices in one row, for the functions of this module.

    Args:
      devices: by default all, those of other processes included (``jax.distributed``).
      axis: the row's name.

    Returns:
      A Mesh whose axis JAX partitions by itself, so that any loss of the picture runs on it.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (axis,), (AxisType.Auto,), devices=devices)


def find_candidates(
    sites: Sites,
    shape: tuple[int, int],
    *,
    mesh: Mesh,
    k: int | None = None,
    cell: int | None = None,
) -> Candidates:
    """The exact lists, as ``sad_jax.find_candidates``, each device searching its own band.

    Args:
      sites: N sites.
      shape: (H, W) in pixels, or a ``Canvas``.
      mesh: the devices, from ``make_mesh``.
      k: sites a list.
      cell: pixels a side of a cell.

    Returns:
      Candidates whose ids lie on the devices of their bands.

    Raises:
      ValueError: another kind of mesh, or more devices than there are rows of cells.

    Example:
      >>> import jax, sad_jax as sad
      >>> mesh = sad.sharding.make_mesh()
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> lists = sad.sharding.find_candidates(sites, (6, 9), mesh=mesh)
      >>> sad.sharding.render(sites, lists, mesh=mesh).shape
      (6, 9, 3)
    """
    canvas = canvas_of(shape, k, cell)
    grid = Grid(*canvas, canvas.cell)
    ids = _search(grid, min(canvas.k, sites.num_sites), mesh, jax.lax.stop_gradient(sites))
    return Candidates(ids, jnp.int32(0), grid.height, grid.width, grid.cell)


def render(
    sites: Sites, lists: Candidates, *, mesh: Mesh, implementation: str | None = None
) -> jax.Array:
    """The picture, as ``sad_jax.render``, each device drawing its own band.

    Differentiable in the sites like ``sad_jax.render``; gradients are summed over the devices.

    Args:
      sites: N sites with C channels.
      lists: their lists, from ``find_candidates`` above or any other.
      mesh: the devices, from ``make_mesh``.
      implementation: as in ``sad_jax.render``.

    Returns:
      float[H, W, C] that lies on the devices in bands.
    """
    check_sites(sites)
    return _render(lists.grid, implementation, mesh, sites, lists.ids)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _search(grid: Grid, k: int, mesh: Mesh, sites: Sites) -> jax.Array:
    band, axis = _band(grid, mesh)

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=PartitionSpec(),
        out_specs=_along(mesh, axis),
        check_vma=False,  # loops begin with what all devices share and go on with what is theirs
    )
    def bands(sites):
        canvas = Canvas((band.height, band.width), k=k, cell=band.cell)
        return search.find_candidates(_moved(sites, band, mesh, axis), canvas).ids

    return jax.lax.slice_in_dim(bands(sites), 0, (grid.rows, grid.columns)[axis], axis=axis)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _render(
    grid: Grid, implementation: str | None, mesh: Mesh, sites: Sites, ids: jax.Array
) -> jax.Array:
    band, axis = _band(grid, mesh)
    missing = mesh.size * (band.rows, band.columns)[axis] - ids.shape[axis]
    ids = jnp.pad(ids, [(0, missing if i == axis else 0) for i in range(3)])
    along = _along(mesh, axis)

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(), along),
        out_specs=along,
        check_vma=False,
    )
    def bands(sites, ids):
        lists = Candidates(ids, jnp.int32(0), band.height, band.width, band.cell)
        return draw(_moved(sites, band, mesh, axis), lists, implementation=implementation)

    return jax.lax.slice_in_dim(bands(sites, ids), 0, (grid.height, grid.width)[axis], axis=axis)


def _band(grid: Grid, mesh: Mesh) -> tuple[Grid, int]:
    """The grid of one band, and the axis along which bands follow each other."""
    if mesh.axis_types != (AxisType.Auto,):
        raise ValueError(f"expected a mesh of one automatic axis (make_mesh), got {mesh}")
    axis = int(grid.height > grid.width)  # bands keep the longer side whole
    cells = (grid.rows, grid.columns)[axis]
    if mesh.size > cells:
        raise ValueError(f"expected at most {cells} devices, one a row of cells, got {mesh.size}")
    if mesh.size == 1:
        return grid, axis
    side = -(-cells // mesh.size) * grid.cell
    sides = {"width" if axis else "height": side}
    return grid._replace(**sides), axis


def _along(mesh: Mesh, axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, mesh.axis_names[0])


def _moved(sites: Sites, band: Grid, mesh: Mesh, axis: int) -> Sites:
    """The sites as seen from this device's band."""
    first = jax.lax.axis_index(mesh.axis_names[0]) * (band.height, band.width)[axis]
    shift = jnp.zeros(2).at[1 - axis].set(first.astype(jnp.float32))
    return sites.replace(position=sites.position - shift.astype(sites.position.dtype))
