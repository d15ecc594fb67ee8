"""One large picture over many devices: bands of the canvas, sites everywhere.

A list and a pixel depend on the sites and on their own place only, so a band needs nothing of its
neighbours: every device holds all sites and a band of the cells, and no seam can show. The reverse
pass sums the sites' gradients over the devices (the transpose of handing the sites to all).

A band is a smaller canvas with the sites moved by the band's first pixel. The canvas is cut such
that bands keep the longer side whole, so that S = max(W, H) of a band is that of the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Float

from sad_jax.backend import Backend, resolve
from sad_jax.draw.passes import draw
from sad_jax.lists import exact
from sad_jax.lists.candidates import Candidates, check_lists, new_lists
from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites, check_sites


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
    canvas: Canvas | tuple[int, int],
    *,
    mesh: Mesh,
    k: int | None = None,
    cell: int | None = None,
) -> Candidates:
    """The exact lists, as ``sad_jax.find_candidates``, each device searching its own band.

    Args:
      sites: N sites.
      canvas: (H, W) in pixels, or a ``Canvas``.
      mesh: the devices, from ``make_mesh``.
      k: sites a list; replaces the canvas's own.
      cell: pixels a side of a cell; replaces the canvas's own.

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
    check_sites(sites)
    canvas = Canvas.of(canvas, k=k, cell=cell)
    backend = _backend(None, mesh, sites, canvas.k)
    return _search(backend, canvas, mesh, jax.lax.stop_gradient(sites))


def render(
    sites: Sites, lists: Candidates, *, mesh: Mesh, implementation: str | Backend | None = None
) -> Float[Array, "H W C"]:
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
    check_lists(sites, lists)
    backend = _backend(implementation, mesh, sites, lists.k)
    return _render(backend, mesh, sites, lists)


def _backend(implementation: str | Backend | None, mesh: Mesh, sites: Sites, k: int) -> Backend:
    if not isinstance(mesh, Mesh):
        raise ValueError(f"expected a mesh (sad_jax.sharding.make_mesh), got {describe(mesh)}")
    return resolve(implementation, sites, k=k, platform=mesh.devices.flat[0].platform)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _search(backend: Backend, canvas: Canvas, mesh: Mesh, sites: Sites) -> Candidates:
    band, axis = _band(canvas, mesh)

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=PartitionSpec(),
        out_specs=_along(mesh, axis),
    )
    def bands(sites):
        moved = _moved(sites, band, mesh, axis)
        return exact.find_candidates(moved, band, implementation=backend).ids

    cells = (canvas.grid.rows, canvas.grid.columns)[axis]
    return new_lists(jax.lax.slice_in_dim(bands(sites), 0, cells, axis=axis), canvas, sites)


@partial(jax.jit, static_argnums=(0, 1))
def _render(backend: Backend, mesh: Mesh, sites: Sites, lists: Candidates) -> jax.Array:
    band, axis = _band(lists.canvas, mesh)
    cells = (band.grid.rows, band.grid.columns)[axis]
    missing = mesh.size * cells - lists.ids.shape[axis]
    ids = jnp.pad(lists.ids, [(0, missing if i == axis else 0) for i in range(3)])
    along = _along(mesh, axis)

    @partial(jax.shard_map, mesh=mesh, in_specs=(PartitionSpec(), along), out_specs=along)
    def bands(sites, ids):
        return draw(backend, _moved(sites, band, mesh, axis), new_lists(ids, band, sites))

    return jax.lax.slice_in_dim(bands(sites, ids), 0, lists.canvas.shape[axis], axis=axis)


def _band(canvas: Canvas, mesh: Mesh) -> tuple[Canvas, int]:
    """The canvas of one band, and the axis along which bands follow each other."""
    if mesh.axis_types != (AxisType.Auto,):
        raise ValueError(f"expected a mesh of one automatic axis (make_mesh), got {mesh}")
    axis = int(canvas.height > canvas.width)  # bands keep the longer side whole
    cells = (canvas.grid.rows, canvas.grid.columns)[axis]
    if mesh.size > cells:
        raise ValueError(f"expected at most {cells} devices, one a row of cells, got {mesh.size}")
    if mesh.size == 1:
        return canvas, axis
    side = -(-cells // mesh.size) * canvas.cell
    shape = (canvas.height, side) if axis else (side, canvas.width)
    return dataclasses.replace(canvas, shape=shape), axis


def _along(mesh: Mesh, axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, mesh.axis_names[0])


def _moved(sites: Sites, band: Canvas, mesh: Mesh, axis: int) -> Sites:
    """The sites as seen from this device's band."""
    first = jax.lax.axis_index(mesh.axis_names[0]) * band.shape[axis]
    shift = jnp.zeros(2).at[1 - axis].set(first.astype(jnp.float32))
    return sites.replace(position=sites.position - shift.astype(sites.position.dtype))
