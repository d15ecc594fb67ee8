"""Candidates: the lists of all cells, each with the K sites that its pixels blend."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import register_pytree_node_serialization
from jax.sharding import Mesh
from jaxtyping import Array, Int

from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas, Grid
from sad_jax.model.sites import Sites
from sad_jax.pytree import PyTree, static
from sad_jax.sharding import over_bands, padded_rows, place_rows
from sad_jax.varying import alongside, check_axes

Prepared = tuple[jax.Array, jax.Array] | jax.Array | None


class Candidates(PyTree):
    """The lists of all cells of a canvas.

    Attributes:
      ids: int32[Hc, Wc, min(K, N)], sites by rising score, without repeats; Hc = ceil(H / cell) and
        Wc = ceil(W / cell).
      passes: int32[], propagation passes so far (it sets the jump of the next one).
      prepared: what passes over the same lists share, in the form of their backend, if
        ``passes.prepare`` added it; else None. For kernels on a GPU that sum in a fixed order the
        transposed lists (site -> cells): int32[Hc Wc min(K, N)], the cells of all slots, ordered by
        site, and int32[N + 1], where each site's part begins. For the CPU engine the members of
        tiles of cells, int32[Hc, Wc, 2 min(K, N) + 2], see ``members.hpp``.
      canvas: the picture's size, K and cell (static).
      num_sites: N, for how many sites the lists were made (static).
      mesh: the devices on which the lists lie in bands of rows (static), or None. In bands Hc is
        rounded up to a multiple of the devices, and ``prepared`` is that of every band.
    """

    ids: Int[Array, "Hc Wc K"]
    passes: Int[Array, ""]
    canvas: Canvas = static()
    num_sites: int = static()
    prepared: Prepared = None
    mesh: Mesh | None = static(default=None)

    @property
    def k(self) -> int:
        """Sites in each list: min(K, N)."""
        return self.ids.shape[-1]

    @property
    def grid(self) -> Grid:
        return self.canvas.grid

    def at(self, points: jax.Array) -> jax.Array:
        """int32[M, K]: the lists of the cells in which points float[M, 2] lie, or the nearest."""
        column, row = self.grid.cell_of(points)
        return self.ids[row, column]


def _to_bytes(static: tuple[Canvas, int, Mesh | None]) -> bytes:
    canvas, num_sites, mesh = static
    if mesh is not None:
        raise ValueError("expected lists on one device for jax.export, got lists over a mesh")
    return json.dumps([canvas.shape, canvas.k, canvas.cell, canvas.side, num_sites]).encode()


def _from_bytes(data: bytes) -> tuple[Canvas, int, Mesh | None]:
    shape, k, cell, side, num_sites = json.loads(data)
    return Canvas(shape, k=k, cell=cell, side=side), num_sites, None


register_pytree_node_serialization(  # for ``jax.export``
    Candidates,
    serialized_name="sad_jax.Candidates",
    serialize_auxdata=_to_bytes,
    deserialize_auxdata=_from_bytes,
)


def new_lists(
    ids: jax.Array, canvas: Canvas, sites: Sites, mesh: Mesh | None = None, *, passes: int = 0
) -> Candidates:
    """Candidates of these sites on this canvas, in bands over a mesh if there is one."""
    counted = alongside(jax.device_put(np.int32(passes)), ids)
    return Candidates(ids, counted, canvas, sites.num_sites, mesh=mesh)


def unknown_lists(canvas: Canvas, sites: Sites, mesh: Mesh | None = None) -> Candidates:
    """Lists of which nothing is known, as ``near`` of a search.

    It then runs the same program as a later one that knows earlier lists: one compilation.
    """
    ids = np.full(shape_of_lists(canvas, sites.num_sites, mesh), -1, np.int32)
    placed = jax.device_put(ids) if mesh is None else place_rows(ids, mesh, len(ids))
    return new_lists(placed, canvas, sites, mesh)


def shape_of_lists(canvas: Canvas, num_sites: int, mesh: Mesh | None) -> tuple[int, int, int]:
    """[Hc, Wc, K] of the ids."""
    grid = canvas.grid
    rows = grid.rows if mesh is None else padded_rows(grid, mesh) // grid.cell
    return rows, grid.columns, min(canvas.k, num_sites)


def in_bands(
    function: Callable,
    sites: Sites,
    lists: Candidates,
    *parts: Any,
    shared: tuple = (),
    summed: bool = False,
) -> Any:
    """``function(sites, lists, *parts, *shared)`` where the lists lie: as it is, or by bands.

    See ``sharding.over_bands``; a band's lists are those of a canvas of their own.
    """
    mesh, canvas = lists.mesh, lists.canvas
    if mesh is None:
        return function(sites, lists, *parts, *shared)
    whole = lists.replace(canvas=canvas.band(mesh.size), mesh=None)

    def run(sites, own, *rest):
        ids, prepared, passes = own[0], own[1], rest[-1]
        band = whole.replace(ids=ids, prepared=prepared, passes=passes)
        return function(sites, band, *rest[:-1])

    own, told = (lists.ids, lists.prepared), (*shared, lists.passes)
    return over_bands(mesh, canvas.grid, run, sites, own, *parts, shared=told, summed=summed)


def check_lists(sites: Sites, lists: Candidates) -> None:
    """Raises a ValueError unless they are lists of one picture, made for as many sites."""
    if not isinstance(lists, Candidates):
        raise ValueError(f"expected lists (Candidates), got {describe(lists)}")
    check_axes("lists", lists.ids)
    if lists.ids.ndim != 3:
        raise ValueError(
            f"expected the lists of one picture, got a batch of shape {lists.ids.shape[:-3]}; "
            "map over it by jax.vmap"
        )
    if lists.num_sites != sites.num_sites:
        raise ValueError(
            f"expected lists made for the {sites.num_sites} sites given, "
            f"got lists of {lists.num_sites} sites"
        )


def smallest(scores: jax.Array, ids: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The K smallest scores along axis 0 and their ids, without repeats, equal scores by id."""

    def step(scores, _):
        score = jnp.min(scores, 0)
        least = jnp.min(jnp.where(scores == score, ids, jnp.iinfo(jnp.int32).max), 0)
        return jnp.where(ids == least, jnp.inf, scores), (score, least)

    return jax.lax.scan(step, scores, None, length=k)[1]
