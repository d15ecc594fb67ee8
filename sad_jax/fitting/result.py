"""FitResult: a fitted picture and its figures, which are those of its file's bytes, decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from sad_jax import html
from sad_jax.coding.encode import Job
from sad_jax.coding.rate import encode_to
from sad_jax.draw.api import render
from sad_jax.draw.bands import render_bands
from sad_jax.fitting.clock import Clock
from sad_jax.fitting.photo import Photo, PhotoInBands
from sad_jax.fitting.task import Task, exact_lists
from sad_jax.metrics import mse_to_psnr
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites, along_curve
from sad_jax.model.supersampling import repeated, shrunk
from sad_jax.model.value_range import ValueRange
from sad_jax.optimize.state import Progress
from sad_jax.storage.pictures import as_rgb
from sad_jax.storage.sad import decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sad_jax.viewer.page import Page


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A fitted picture and its figures.

    Attributes:
      sites: the N sites as the file holds them, rounded, in its order.
      canvas: the picture's size, with K and cell size: the photo's, times ``supersampling``.
      data: the bytes of the ``.sad`` file.
      psnr, ssim: of the picture decoded from ``data`` against the photo, all pixels alike; the peak
        is the width of ``value_range``, to which both are scaled.
      float_sites: the N sites before they were rounded, to encode them otherwise.
      float_psnr: dB, of their picture; what is between it and ``psnr`` is lost by rounding.
      supersampling: pixels of the picture a side, as in ``FitConfig``, whose means are what is
        compared with the photo.
      value_range: (0, 1), or the wider one of the photo's values, and so of the sites' colours.
      loop_psnr: dB, as the fit last saw its picture, for comparison only: in the last Adam step, or
        after the colours are solved; of an earlier step, if that is what is stored.
      seconds: of the fit and its encoding, without compilation; ``compile_seconds``: tracing and
        compiling.
      steps: optimiser steps done.
      implementation: what the passes over the picture ran on.
      history: lists by name: step, psnr (in the loop), sites, seconds.
      interrupted: whether Ctrl-C ended it; if the budget was not reached, the sites are those of
        the last step, thinned to it and finished.
    """

    sites: Sites
    canvas: Canvas
    data: bytes
    psnr: float
    ssim: float
    float_sites: Sites
    float_psnr: float
    supersampling: int
    value_range: ValueRange
    loop_psnr: float
    seconds: float
    compile_seconds: float
    steps: int
    implementation: str
    history: dict[str, list[float]]
    interrupted: bool

    def _repr_html_(self) -> str:
        """The picture and its figures, as notebooks show them."""
        canvas, size = self.canvas, len(self.data)
        pixels = canvas.pixels / self.supersampling**2
        rows = [
            ("canvas", f"{canvas.width} x {canvas.height}"),
            ("sites", f"{self.sites.num_sites:,}"),
            ("file", f"{size:,} bytes, {8 * size / pixels:.2f} bpp"),
            ("PSNR", f"{self.psnr:.2f} dB, {self.float_psnr:.2f} before rounding"),
            ("SSIM", f"{self.ssim:.4f}"),
            ("steps", f"{self.steps}, in {self.seconds:.1f} s"),
            ("look inside", "result.explore(), result.plot()"),
        ]
        picture = as_rgb(render(self.sites, canvas))
        return html.beside(html.thumbnail(picture), html.table(rows))

    def explore(self, photo: Float[ArrayLike, "H W C"] | None = None) -> Page:
        """The page of ``sad_jax.viz.explore``, on which to look around in the diagram.

        Args:
          photo: the fitted one, to compare with and for the error.
        """
        from sad_jax import viz

        photo = None if photo is None else repeated(np.asarray(photo), self.supersampling)
        return viz.explore(self.sites, self.canvas, photo)

    def plot(self, photo: Float[ArrayLike, "H W C"] | None = None) -> Figure:
        """The usual figure, by matplotlib: the picture, its owners and temperatures, the error if
        the photograph is given, and the PSNR over the steps.

        Args:
          photo: the fitted one.

        Raises:
          ImportError: without matplotlib.
        """
        from sad_jax.fitting.figure import plot_result

        values = self.value_range
        shown = self.sites.replace(color=values.to_unit(self.sites.color))
        if photo is not None:
            photo = values.to_unit(repeated(np.asarray(photo), self.supersampling))
        return plot_result(shown, self.canvas, self.psnr, self.history, photo)


@dataclasses.dataclass(frozen=True)
class Finished:
    """Sites that are fitted, and their file.

    ``sites``: in float32, with the photo's own values as colours; ``data``: the file;
    ``mse``: what the fit itself saw last.
    """

    sites: Sites
    data: bytes
    mse: jax.Array

    @classmethod
    def of(cls, task: Task, sites: Sites, mse: jax.Array) -> Finished:
        """Encodes sites with colours in [0, 1] as the task wants them."""
        values = ValueRange(*(float(np.float32(value)) for value in task.value_range))
        sites = along_curve(sites, task.canvas)
        job = Job(sites, task.canvas, task.target, values, known=True, frame=task.frame)
        own = sites.replace(color=jax.device_put(values.from_unit(sites.color)))
        return cls(own, encode_to(job, task.aim), mse)


def make_result(
    done: Finished,
    photo: Photo | PhotoInBands,
    task: Task,
    clock: Clock,
    history: dict[str, list[float]],
    interrupted: bool = False,
) -> FitResult:
    """The figures of the picture decoded from a file."""
    decoded, _ = decode(done.data, max_pixels=None)
    photo = photo.to_unit(task.value_range)
    psnr, ssim = photo.likeness(_drawn(task, decoded))
    return FitResult(
        sites=decoded,
        canvas=task.canvas,
        data=done.data,
        psnr=psnr,
        ssim=ssim,
        float_sites=done.sites,
        float_psnr=photo.psnr(_drawn(task, done.sites)),
        supersampling=task.target.samples,
        value_range=task.value_range,
        loop_psnr=float(mse_to_psnr(done.mse)),
        seconds=clock.seconds,
        compile_seconds=clock.compiling,
        steps=int(history["step"][-1]) if history["step"] else 0,
        implementation=task.backend.engine,
        history=history,
        interrupted=interrupted,
    )


def _drawn(task: Task, sites: Sites) -> Iterable:
    """The picture of sites with the photo's own values as colours, in [0, 1], at the photo's size,
    in bands of rows; of a mesh as a whole, which lies there in bands."""
    frame, values, samples = task.frame, task.value_range, task.target.samples
    unit = frame.enter(sites.replace(color=jax.device_put(values.to_unit(sites.color))))
    if task.mesh is not None:
        return [render(unit, exact_lists(task, unit))]
    bands = frame.crop_bands(render_bands(unit, frame.canvas, partial(exact_lists, task)))
    return (np.asarray(shrunk(band, samples)) for band in bands if len(band))


def new_history() -> dict[str, list[float]]:
    """Nothing so far: lists by name."""
    return {"step": [], "psnr": [], "sites": [], "seconds": []}


def record(history: dict[str, list[float]], now: Progress) -> None:
    """Adds where a fit stands to its history."""
    values = {"step": now.step, "psnr": now.psnr, "sites": now.num_sites, "seconds": now.seconds}
    for name, value in values.items():
        history[name].append(value)
