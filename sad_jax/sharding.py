"""One picture over many devices: bands of its rows, sites everywhere.

A list and a pixel depend on the sites and on their own place only, so a band of rows needs nothing
of its neighbours: every device holds all sites, and the lists and pixels of its band. No seam can
show. What the pixels give to the sites, gradients and statistics, is summed over the devices. A
band is a window of the canvas (``Canvas.band``), with the sites moved by its first pixel.

Sites are not cut by place, too. They are few, and small: 40 bytes each of three channels, where a
pixel with its list takes 60. Cut by place, they would be exchanged along borders that move.

Which lists lie in bands, and over which mesh, is told by the lists themselves
(``Candidates.mesh``); the passes over them go by bands then. Rows are padded, so that any number of
devices will do: arrays along the rows of a mesh have ``padded_rows`` of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Grid
from sad_jax.model.sites import Sites


def make_mesh(devices: Sequence[jax.Device] | None = None, *, axis: str = "bands") -> Mesh:
    """The devices in one row, for everything that takes ``mesh=``.

    Args:
      devices: by default all, those of other processes included (``jax.distributed``).
      axis: the row's name.

    Returns:
      A Mesh whose axis JAX partitions by itself, so that any loss of the picture runs on it.

    Examples:
      >>> import jax, sad_jax as sad
      >>> mesh = sad.sharding.make_mesh()
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> lists = sad.find_candidates(sites, (6, 9), mesh=mesh)
      >>> sad.render(sites, lists).shape
      (6, 9, 3)
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (axis,), (AxisType.Auto,), devices=devices)


def check_mesh(mesh: Mesh | None) -> None:
    """Raises a ValueError for anything but None and a mesh such as ``make_mesh`` makes."""
    if mesh is None:
        return
    if not isinstance(mesh, Mesh):
        raise ValueError(f"expected a mesh (sad_jax.sharding.make_mesh), got {describe(mesh)}")
    if mesh.axis_types != (AxisType.Auto,):
        raise ValueError(f"expected a mesh of one automatic axis (make_mesh), got {mesh}")
    processes = {device.process_index for device in mesh.devices.flat}
    if len(processes) not in (1, jax.process_count()):
        raise ValueError(
            f"expected a mesh over all {jax.process_count()} processes, got {len(processes)}"
        )


def platform_of(mesh: Mesh | None) -> str | None:
    """On which a mesh computes; None without one."""
    return None if mesh is None else mesh.devices.flat[0].platform


def padded_rows(grid: Grid, mesh: Mesh) -> int:
    """Rows of pixels of all bands together."""
    band = grid.band(mesh.size)
    return mesh.size * band.rows * band.cell


def over_bands(
    mesh: Mesh,
    grid: Grid,
    function: Callable,
    sites: Sites,
    *parts: Any,
    shared: tuple = (),
    summed: bool = False,
) -> Any:
    """What a function finds in every band.

    Args:
      mesh: the devices.
      grid: of the whole picture.
      function: (sites as seen from the band, *its parts, *shared) -> arrays.
      sites: N sites.
      *parts: trees of arrays whose first axis is that of the bands.
      shared: trees that all bands are given alike.
      summed: whether what is found is summed over the bands; else it is joined along its first
        axis.
    """
    bands, height = PartitionSpec(mesh.axis_names[0]), grid.band(mesh.size).height

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(), bands, PartitionSpec()),
        out_specs=PartitionSpec() if summed else bands,
    )
    def run(sites, parts, shared):
        first = number_of_band(mesh) * height
        shift = jnp.stack([jnp.zeros_like(first), first]).astype(sites.position.dtype)
        moved = sites.replace(position=sites.position - shift[None])
        found = function(moved, *parts, *shared)
        return jax.lax.psum(found, mesh.axis_names[0]) if summed else found

    return run(sites, parts, shared)


def along_rows(mesh: Mesh, function: Callable, *parts: jax.Array) -> Any:
    """The function of each device's part of arrays whose first axis is that of the bands."""
    bands = PartitionSpec(mesh.axis_names[0])
    return jax.shard_map(function, mesh=mesh, in_specs=bands, out_specs=bands)(*parts)


def number_of_band(mesh: Mesh) -> jax.Array:
    """int32[], within ``over_bands``: which one it is, from above."""
    return jax.lax.axis_index(mesh.axis_names[0])


def from_all_bands(mesh: Mesh, part: jax.Array) -> jax.Array:
    """Within ``over_bands``: the parts of all bands, joined along their first axis."""
    return jax.lax.all_gather(part, mesh.axis_names[0], tiled=True)


def place_rows(
    array: np.ndarray | jax.Array, mesh: Mesh, rows: int, *, edge: bool = False
) -> jax.Array:
    """An array [H, ...] with ``rows`` rows, cut over the devices; the new ones are zero, or the
    last one again.

    Every process places its own part of an array of the host; one that lies on the devices of all
    processes already is moved from one to the other.
    """
    if isinstance(array, jax.Array):
        sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
        return _padded_over(sharding)(array, rows - len(array), edge)
    return place_read_rows(lambda first, end: array[first:end], array.shape, mesh, rows, edge=edge)


def place_read_rows(
    read: Callable[[int, int], np.ndarray],
    shape: tuple[int, ...],
    mesh: Mesh,
    rows: int,
    *,
    edge: bool = False,
) -> jax.Array:
    """``place_rows`` of an array of this shape, of which ``read(first, end)`` gives some rows.

    Every process reads those of its devices.
    """
    height = shape[0]

    def part(index):
        start, stop, _ = index[0].indices(rows)
        first, end = min(start, height - 1), min(stop, height)  # beyond the last row, that one
        here = read(first, max(end, first + 1))
        missing = stop - start - len(here)
        if missing:
            room = [(0, missing)] + [(0, 0)] * (len(shape) - 1)
            here = np.pad(here, room, mode="edge" if edge else "constant")
        if start >= height and not edge:
            here = np.zeros_like(here)
        return here

    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return jax.make_array_from_callback((rows, *shape[1:]), sharding, part)


@functools.cache
def _padded_over(sharding: NamedSharding) -> Callable:
    def padded(array, count, edge):
        room = [(0, count)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, room, mode="edge" if edge else "constant")

    return jax.jit(padded, static_argnums=(1, 2), out_shardings=sharding)


def to_host(array: jax.Array | np.ndarray) -> np.ndarray:
    """All of an array, also if its rows lie on the devices of other processes.

    Band after band, so that no device must hold the whole.
    """
    if isinstance(array, np.ndarray) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    mesh = array.sharding.mesh  # type: ignore[attr-defined]
    height = array.shape[0] // mesh.size
    cut = jax.jit(
        partial(jax.lax.dynamic_slice_in_dim, slice_size=height),
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
    return np.concatenate([np.asarray(cut(array, i * height)) for i in range(mesh.size)])


def at_pixels(image: np.ndarray | jax.Array, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """float[M, C]: the pixels (column, row) of a picture on the host or on devices."""
    if not (isinstance(image, jax.Array) and isinstance(image.sharding, NamedSharding)):
        return np.asarray(image)[row, column]
    count = len(row)
    places = np.zeros((2, 2 ** max(count - 1, 0).bit_length()), np.int32)  # few programs
    places[:, :count] = row, column
    return np.asarray(_pixels(image.sharding.mesh)(image, places))[:count]


@functools.cache
def _pixels(mesh: Mesh) -> Callable:
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(lambda image, places: image[places[0], places[1]], out_shardings=everywhere)


def whole(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays of a mesh as every process can read them; without a mesh as they are."""
    return tree if mesh is None else _everywhere(mesh)(tree)


@functools.cache
def _everywhere(mesh: Mesh) -> Callable:
    def everywhere(tree):
        return tree

    return jax.jit(everywhere, out_shardings=NamedSharding(mesh, PartitionSpec()))


def from_first(tree: Any) -> Any:
    """What process 0 has of numbers or arrays of the host, in all processes: its decision."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


def put_like(tree: Any, placed: jax.Array | np.ndarray) -> Any:
    """Arrays of the host, alike in all processes, on the devices on which ``placed`` lies whole."""
    if not isinstance(placed, jax.Array) or not placed.committed:
        return jax.device_put(tree)
    if placed.is_fully_addressable:
        return jax.device_put(tree, placed.sharding)

    def everywhere(leaf):
        return jax.make_array_from_callback(leaf.shape, placed.sharding, lambda index: leaf[index])

    return jax.tree.map(everywhere, tree)
