"""Pictures about a picture: who owns which pixel, how sharp the owners are, where it errs."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int
from PIL import Image

from sad_jax.colormap import viridis
from sad_jax.draw.api import lists_for, owners, render
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.exact import find_candidates
from sad_jax.metrics import as_pair
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.model.value_range import ValueRange
from sad_jax.storage.atomic import read_bytes, write_bytes
from sad_jax.storage.pictures import as_rgb, displayed
from sad_jax.transferring import transferring
from sad_jax.viewer.page import Page, make_page

_FILM_SIDE = 480  # pixels
_FILM_RATE = 12  # frames a second
_BORDER = 0.35  # brightness left on the border between two owners


def diagram(
    sites: Sites, lists: Candidates | Canvas | tuple[int, int]
) -> Float[np.ndarray, "H W 3"]:
    """The diagram itself: every pixel in its owner's colour, with dark borders between owners.

    Args:
      sites: N sites of any number of channels.
      lists: the lists of the cells, or the canvas, (H, W) in pixels or a ``Canvas``.

    Returns:
      float32[H, W, 3] in [0, 1].

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> from sad_jax.viz import diagram
      >>> sites = sad.init_sites(jnp.ones((8, 8, 3)), 1, key=jax.random.key(0))
      >>> diagram(sites, (8, 8)).min(axis=(0, 1)).tolist()  # one owner, no border
      [1.0, 1.0, 1.0]
    """
    owner = _owners(sites, lists)
    flat = displayed(np.asarray(sites.color)[owner])
    border = np.zeros(owner.shape, bool)
    border[:-1] |= owner[:-1] != owner[1:]
    border[:, :-1] |= owner[:, :-1] != owner[:, 1:]
    return np.where(border[..., None], np.float32(_BORDER) * flat, flat)


def tau_map(
    sites: Sites, lists: Candidates | Canvas | tuple[int, int]
) -> Float[np.ndarray, "H W 3"]:
    """log_tau of the owner of each pixel, dark (soft) to bright (sharp) over the middle 98 %.

    Args:
      sites: N sites.
      lists: the lists of the cells, or the canvas, (H, W) in pixels or a ``Canvas``.

    Returns:
      float32[H, W, 3] in [0, 1].
    """
    log_tau, (low, high) = _log_tau(sites, lists)
    return viridis((log_tau - low) / max(high - low, 1e-6))


def error_map(
    image: Float[ArrayLike, "H W C"], target: Float[ArrayLike, "H W C"]
) -> Float[np.ndarray, "H W 3"]:
    """The error of each pixel (root mean square over channels), dark to bright.

    Args:
      image: float[H, W, C].
      target: float[H, W, C].

    Returns:
      float32[H, W, 3] in [0, 1]; the brightest colour stands for the 99.5th percentile of the
      errors, and at least for one step of 8 bits.

    Raises:
      ValueError: if the shapes differ.
    """
    error, worst = _error(image, target)
    return viridis(error / worst)


@transferring
def explore(
    sites: Sites,
    lists: Candidates | Canvas | tuple[int, int],
    photo: Float[ArrayLike, "H W C"] | None = None,
    *,
    title: str = "diagram",
    height: int = 600,
) -> Page:
    """A page on which to look around in a diagram: at any zoom, site by site.

    It draws the picture, its owners, temperatures and, given the photograph, its error, from the
    sites themselves by WebGL2, and needs neither a network nor a server. A notebook shows it;
    ``save`` writes it as one HTML file.

    Args:
      sites: N sites of any number of channels, shown as ``write_image`` would clip them.
      lists: the canvas, (H, W) in pixels or a ``Canvas``, or lists of it: the page finds the exact
        list of every point itself.
      photo: float[H, W, C] to compare with; its range of values is shown as black to white.
      title: of the page, and of the pictures that are saved from it.
      height: pixels that the page takes in a notebook.

    Returns:
      A ``Page``, with ``html`` and ``save(path)``.

    Raises:
      ValueError: a photo of another size, sites or lists that do not fit together.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.ones((8, 8, 3)), 4, key=jax.random.key(0))
      >>> page = sad.viz.explore(sites, (8, 8))
      >>> page.html[:15]
      '<!doctype html>'
    """
    canvas = lists_for(sites, lists).canvas if isinstance(lists, Candidates) else Canvas.of(lists)
    sites = sites if np.all(sites.alive) else sites.compact()
    values = ValueRange() if photo is None else ValueRange.of(photo)
    sites = sites.replace(color=values.to_unit(sites.color))
    exact = find_candidates(sites, canvas)
    worst = 1.0
    if photo is not None:
        photo = values.to_unit(photo)
        worst = _error(np.clip(render(sites, exact), 0, 1), photo)[1]
    tau_range = _log_tau(sites, exact)[1]
    return make_page(
        sites, canvas, title=title, tau_range=tau_range, worst=worst, photo=photo, height=height
    )


def film_frame(sites: Sites, lists: Candidates) -> Image.Image:
    """One frame of a film: the picture, the diagram and the temperatures side by side.

    Args:
      sites: N sites.
      lists: of their cells.

    Returns:
      An RGB picture, small enough that a film of many stays in memory: each of the three has at
      most 480 pixels a side.
    """
    pictures = (render(sites, lists), diagram(sites, lists), tau_map(sites, lists))
    panels = [as_rgb(picture) for picture in pictures]
    for panel in panels:
        panel.thumbnail((_FILM_SIDE, _FILM_SIDE))
    width, height = panels[0].size
    frame = Image.new("RGB", (len(panels) * width, height))
    for i, panel in enumerate(panels):
        frame.paste(panel, (i * width, 0))
    return frame


def write_film(path: str | os.PathLike, frames: list[Image.Image]) -> None:
    """Writes an ``.mp4``, or an animated ``.gif`` that repeats, whole or not at all.

    Args:
      path: of the file; an ``.mp4`` needs ``sad-jax[video]``.
      frames: at least one, all of one size.
    """
    if str(path).lower().endswith(".mp4"):
        write_bytes(path, _as_mp4(frames))
        return
    buffer = io.BytesIO()
    options = {"append_images": frames[1:], "duration": 1000 // _FILM_RATE, "loop": 0}
    frames[0].save(buffer, "GIF", save_all=True, **options)
    write_bytes(path, buffer.getvalue())


def _as_mp4(frames: list[Image.Image]) -> bytes:
    """H.264 by imageio's ffmpeg; it wants even sides, so an odd one loses its last pixels."""
    import imageio_ffmpeg

    width, height = (max(side & ~1, 1) for side in frames[0].size)
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {_FILM_RATE} -i -"
    target = "-pix_fmt yuv420p -movflags +faststart -loglevel error"
    raw = b"".join(frame.crop((0, 0, width, height)).tobytes() for frame in frames)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "film.mp4")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *source.split(), *target.split(), path]
        subprocess.run(command, input=raw, check=True)
        return read_bytes(path, "a film")


def _log_tau(sites: Sites, lists) -> tuple[np.ndarray, tuple[float, float]]:
    """log_tau of the owner of each pixel, and the values that are shown darkest and brightest."""
    log_tau = np.asarray(sites.log_tau)[_owners(sites, lists)]
    low, high = np.percentile(log_tau, (1, 99))
    return log_tau, (float(low), float(high))


def _error(image: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, float]:
    """The error of each pixel, and the one that is shown brightest."""
    image, target = as_pair(image, target)
    error = np.sqrt(np.mean(np.square(image - target), axis=-1))
    return error, float(max(np.percentile(error, 99.5), 1 / 255))


def _owners(sites: Sites, lists) -> Int[np.ndarray, "H W"]:
    return np.asarray(owners(sites, lists))
