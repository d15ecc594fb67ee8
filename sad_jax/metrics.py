"""How near two pictures are: PSNR and SSIM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sad_jax.model.picture import as_floats

SSIM_WINDOW = 11  # pixels, Gaussian of sigma 1.5 (Wang et al. 2004)
BAND = 2**21  # pixels compared at once


def mse_to_psnr(mse: Float[ArrayLike, "*B"]) -> Float[Array, "*B"]:
    """PSNR = -10 log10(MSE) for values in [0, 1].

    Args:
      mse: float[...], mean squared error.

    Returns:
      float[...], in dB; infinite where the error is zero.

    Examples:
      >>> from sad_jax.metrics import mse_to_psnr
      >>> round(float(mse_to_psnr(0.01)), 4)
      20.0
    """
    return _decibels(mse)


@jax.jit
def _decibels(mse: jax.Array) -> jax.Array:
    return -10.0 * jnp.log10(mse)


def psnr(a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"]) -> float:
    """Peak signal-to-noise ratio of two pictures with values in [0, 1].

    Args:
      a: float[H, W, C].
      b: float[H, W, C].

    Returns:
      In dB; ``inf`` for equal pictures.

    Raises:
      ValueError: if their shapes differ.

    Examples:
      >>> import numpy as np
      >>> from sad_jax.metrics import psnr
      >>> round(psnr(np.zeros((2, 2, 3)), np.full((2, 2, 3), 0.1)), 3)
      20.0
    """
    a, b = as_pair(a, b)
    return psnr_of_bands(_bands(a), b)


def psnr_of_bands(bands: Iterable[np.ndarray], photo: np.ndarray) -> float:
    """``psnr`` of a picture that comes in bands of rows, from the top down.

    Args:
      bands: float32[h, W, C] each.
      photo: float32[H, W, C].
    """
    return _psnr_of(sum(_squares(bands, photo)), photo)


def _squares(bands: Iterable[np.ndarray], photo: np.ndarray) -> Iterator[float]:
    """The sum of squared errors of each band."""
    top = 0
    for band in bands:
        error = band.astype(np.float64)
        error -= photo[top : top + len(band)]
        yield float(np.vdot(error, error))
        top += len(band)


def _psnr_of(squares: float, photo: np.ndarray) -> float:
    return float(jax.device_get(mse_to_psnr(jax.device_put(np.float32(squares / photo.size)))))


def ssim(a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"]) -> float:
    """Structural similarity of two pictures with values in [0, 1].

    The mean over channels and all whole 11x11 Gaussian windows (Wang et al. 2004), by ``dm_pix``.

    Args:
      a: float[H, W, C].
      b: float[H, W, C].

    Returns:
      At most 1; ``nan`` for pictures smaller than the window.

    Raises:
      ValueError: if their shapes differ.
    """
    a, b = as_pair(a, b)
    return likeness(_bands(a), b)[1]


def likeness(bands: Iterable[np.ndarray], photo: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM of a picture that comes in bands of rows, from the top down.

    Args:
      bands: float32[h, W, C] each.
      photo: float32[H, W, C].
    """
    squares, alike, windows = 0.0, 0.0, 0  # of rows
    rest = photo[:0]  # the last rows, which windows of the next band need
    for band in bands:
        squares += sum(_squares([band], photo[windows + len(rest) :]))
        rest = np.concatenate([rest, band])
        fresh = len(rest) - SSIM_WINDOW + 1
        if fresh > 0:
            pair = jax.device_put((rest, photo[windows : windows + len(rest)]))
            alike += fresh * float(jax.device_get(ssim_of(*pair)))
            windows, rest = windows + fresh, rest[fresh:]
    return _psnr_of(squares, photo), alike / windows if windows else math.nan


def _bands(image: np.ndarray) -> Iterator[np.ndarray]:
    """A picture in bands, of which few are compared at once."""
    height = max(1, BAND // image.shape[1])
    return (image[top : top + height] for top in range(0, len(image), height))


@jax.jit
def ssim_of(a: jax.Array, b: jax.Array) -> jax.Array:
    """``ssim`` of float32[H, W, C] on a device."""
    if min(a.shape[:2]) < SSIM_WINDOW:
        return jnp.asarray(math.nan, a.dtype)
    return dm_pix.ssim(a, b, max_val=1.0, filter_size=SSIM_WINDOW, filter_sigma=1.5)


def as_pair(
    a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"]
) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures as float32[H, W, C]; ValueError if their shapes differ."""
    first, second = (as_floats(image).astype(np.float32, copy=False) for image in (a, b))
    if first.shape != second.shape or np.ndim(a) != 3:
        raise ValueError(
            f"expected two pictures [H, W, C] alike, got {np.shape(a)} and {np.shape(b)}"
        )
    return first, second
