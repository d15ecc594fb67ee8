"""Pictures drawn a band of rows at a time, so that a large one never lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.backend import Backend, resolve
from sad_jax.draw.api import draw_in_view, render
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.exact import find_candidates
from sad_jax.lists.view import View
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites

BAND = 2**21  # pixels, about
WHOLE = 4  # pixels: cells of any size, and squares that are seen as one, fill a band of their rows


class Window(NamedTuple):
    """A part of the picture, in pixels: its first column and row, and its size."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def whole(cls, canvas: Canvas) -> Window:
        return cls(0, 0, canvas.width, canvas.height)

    def bands(self, cell: int) -> list[Window]:
        """It in bands, from the top down, which begin with whole cells but for the first."""
        height = max(WHOLE, BAND // self.width // WHOLE * WHOLE)
        first = self.y // cell * cell
        ends = [*range(first + height, self.y + self.height, height), self.y + self.height]
        starts = [self.y, *ends[:-1]]
        return [
            Window(self.x, top, self.width, end - top)
            for top, end in zip(starts, ends, strict=True)
        ]

    def seen(self, sites: Sites, canvas: Canvas) -> tuple[Sites, Canvas]:
        """What a window that begins with whole cells shows: sites moved to it, and its canvas."""
        if self == Window.whole(canvas):
            return sites, canvas
        moved = sites.position - jnp.asarray([self.x, self.y], sites.position.dtype)
        moved = jnp.where(sites.alive[:, None], moved, 0)
        part = Canvas((self.height, self.width), k=canvas.k, cell=canvas.cell, side=canvas.size)
        return sites.replace(position=moved), part


def render_bands(
    sites: Sites,
    canvas: Canvas,
    find: Callable[[Sites, Canvas], Candidates] = find_candidates,
) -> Iterator[np.ndarray]:
    """The picture of ``render``, float32[h, W, C] each; ``find`` gives the lists of a band."""
    for window in Window.whole(canvas).bands(canvas.cell):
        seen = window.seen(sites, canvas)
        yield np.asarray(render(seen[0], find(*seen)))


def resample_bands(sites: Sites, canvas: Canvas, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """The picture of ``resample``, given a canvas, float32[h, W', C] each."""
    view = View.of(canvas, shape)
    backend = resolve(None, sites, k=min(canvas.k, sites.num_sites))
    left = shape[0]
    for i in range(view.bands):
        first = jax.device_put(np.asarray(i * view.rows, sites.position.dtype))
        band = np.asarray(_draw_band(backend, view, sites, first))[:left]
        left -= len(band)
        yield band


@partial(jax.jit, static_argnums=(0, 1))
def _draw_band(backend: Backend, view: View, sites: Sites, first: jax.Array) -> jax.Array:
    return draw_in_view(backend, view, sites, None, first)
