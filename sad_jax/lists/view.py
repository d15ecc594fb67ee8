"""Exact lists away from the pixels' centres: at single points, and at the pixels of another size.

A list is a function of the place, so the picture can be looked at anywhere. Another size is a grid
of points on the stretched canvas; in its own pixels the sites are other ones (``stretched``), and
the search is that of any picture. It goes band by band, so that only the lists of one exist.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax.backend import Backend
from sad_jax.lists.culling import search_at_points
from sad_jax.lists.exact import search_cells
from sad_jax.model.canvas import Canvas, Grid
from sad_jax.model.score import site_rows, stretched
from sad_jax.model.sites import Sites

BAND = 2**20  # points whose lists exist at once


class View(NamedTuple):
    """A canvas as seen at another size.

    ``shape``: (H, W) of the new picture; ``samples``: (down, across) points in each of its pixels;
    ``rows``: of points in a band, full pixels.
    """

    canvas: Canvas
    shape: tuple[int, int]
    samples: tuple[int, int]
    rows: int

    @classmethod
    def of(cls, canvas: Canvas, shape: tuple[int, int]) -> View:
        """The view whose pixels skip none of the canvas's."""
        down, across = (-(-old // new) for old, new in zip(canvas.shape, shape, strict=True))
        bands = -(-shape[0] * down * shape[1] * across // BAND)
        rows = -(-shape[0] // min(bands, shape[0])) * down
        return cls(canvas, shape, (down, across), rows)

    @property
    def fine(self) -> tuple[int, int]:
        """(rows, columns) of all points."""
        return self.shape[0] * self.samples[0], self.shape[1] * self.samples[1]

    @property
    def band(self) -> tuple[int, int]:
        """(rows, columns) of a band's points; the last band reaches beyond the picture."""
        return self.rows, self.fine[1]

    @property
    def bands(self) -> int:
        return -(-self.fine[0] // self.rows)

    def x(self, column: jax.Array) -> jax.Array:
        """Where columns of points lie, in pixels of the canvas."""
        return _place(column, self.canvas.width / self.fine[1])

    def y(self, row: jax.Array) -> jax.Array:
        """Where rows of points lie, in pixels of the canvas."""
        return _place(row, self.canvas.height / self.fine[0])


def _place(index: jax.Array, step: float) -> jax.Array:
    """The centres of equal parts of a canvas; those of its pixels where the step is one."""
    return index * step + 0.5 * (step - 1)


def find_in_view(backend: Backend, view: View, sites: Sites, first: jax.Array) -> jax.Array:
    """int32[rows, columns, K]: the exact lists of the band of points from the row ``first`` on."""
    canvas = view.canvas
    scales = view.fine[1] / canvas.width, view.fine[0] / canvas.height
    rows = stretched(site_rows(jax.lax.stop_gradient(sites), canvas.size), *scales)
    rows = rows._replace(y=rows.y - first)
    return search_cells(backend, Grid(*view.band, 1), min(canvas.k, sites.num_sites), rows)


def find_at_points(sites: Sites, canvas: Canvas, points: jax.Array) -> jax.Array:
    """int32[M, K]: the exact lists of points float[M, 2]; any list where one is NaN."""
    points = jnp.nan_to_num(jax.lax.stop_gradient(points))
    rows = site_rows(jax.lax.stop_gradient(sites), canvas.size)
    return search_at_points(min(canvas.k, sites.num_sites), rows, points)
