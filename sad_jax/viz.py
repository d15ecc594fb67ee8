"""Pictures about a picture: who owns which pixel, how sharp the owners are, where it errs."""

from __future__ import annotations

import functools
import io
import os

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int
from PIL import Image

from sad_jax.draw.api import owners
from sad_jax.lists.candidates import Candidates
from sad_jax.metrics import as_pair
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.storage.atomic import write_bytes
from sad_jax.storage.pictures import as_rgb, displayed

# Viridis as a polynomial of degree 6, lowest power first (fit by Matt Zucker, public domain).
_VIRIDIS = (
    (0.2777273272234177, 0.005407344544966578, 0.3340998053353061),
    (0.1050930431085774, 1.404613529898575, 1.384590162594685),
    (-0.3308618287255563, 0.214847559468213, 0.09509516302823659),
    (-4.634230498983486, -5.799100973351585, -19.33244095627987),
    (6.228269936347081, 14.17993336680509, 56.69055260068105),
    (4.776384997670288, -13.74514537774601, -65.35303263337234),
    (-5.435455855934631, 4.645852612178535, 26.3124352495832),
)
_FILM_SIDE = 640  # pixels
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

    Example:
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
    log_tau = np.asarray(sites.log_tau)[_owners(sites, lists)]
    low, high = np.percentile(log_tau, (1, 99))
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
    image, target = as_pair(image, target)
    error = np.sqrt(np.mean(np.square(image - target), axis=-1))
    return viridis(error / max(np.percentile(error, 99.5), 1 / 255))


def film_frame(image: Float[ArrayLike, "H W C"]) -> Image.Image:
    """One frame of a film, small enough that a film of many stays in memory.

    Args:
      image: float[H, W, C].

    Returns:
      An RGB picture of at most 640 pixels a side.
    """
    frame = as_rgb(image)
    frame.thumbnail((_FILM_SIDE, _FILM_SIDE))
    return frame


def write_film(path: str | os.PathLike, frames: list[Image.Image]) -> None:
    """Writes an animated ``.gif`` that repeats, whole or not at all.

    Args:
      path: of the file.
      frames: at least one, all of one size.
    """
    buffer = io.BytesIO()
    options = {"append_images": frames[1:], "duration": 1000 // _FILM_RATE, "loop": 0}
    frames[0].save(buffer, "GIF", save_all=True, **options)
    write_bytes(path, buffer.getvalue())


def viridis(values: Float[ArrayLike, "*B"]) -> Float[np.ndarray, "*B 3"]:
    """The colours of a perceptually uniform map.

    Args:
      values: float[...], clipped to [0, 1]; 0 is dark blue, 1 is yellow.

    Returns:
      float32[..., 3] in [0, 1].
    """
    index = np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
    return _viridis_table()[index]


@functools.cache
def _viridis_table() -> np.ndarray:
    """float32[256, 3], the colours of 0 to 1 in equal steps."""
    powers = np.linspace(0.0, 1.0, 256)[:, None] ** np.arange(7)
    return np.clip(powers @ np.asarray(_VIRIDIS), 0.0, 1.0).astype(np.float32)


def _owners(sites: Sites, lists) -> Int[np.ndarray, "H W"]:
    return np.asarray(owners(sites, lists))
