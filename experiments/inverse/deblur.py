"""Deblurring: a known Gaussian PSF, noise, periodic borders; against Wiener and Richardson-Lucy.

    python -m experiments.inverse.deblur [PHOTO ...] [--out FOLDER]

The operator is scico's circular convolution.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scico.linop import CircularConvolve
from skimage.restoration import richardson_lucy, wiener

from experiments.inverse.common import Problem, Settings, crop, linear_methods, main, of_each

SIDE, CORNER = 128, (130, 70)
SIGMA = 2.0  # of the PSF, in pixels
NOISE = 0.02  # standard deviation
BALANCE = 0.03  # of Wiener
ITERATIONS = 25  # of Richardson-Lucy
SETTINGS = Settings(sites=600, tv=1.5e-3, tv_sites=1200, tv_solver="gauss_newton")


def point_spread() -> np.ndarray:
    """The PSF, float32[17, 17], of sum one."""
    reach = np.arange(-8, 9)
    line = np.exp(-(reach**2) / (2 * SIGMA**2))
    return (np.outer(line, line) / line.sum() ** 2).astype(np.float32)


def blur(picture: jax.Array) -> jax.Array:
    """Every channel, float[SIDE, SIDE, C]."""
    convolve = CircularConvolve(point_spread(), (SIDE, SIDE), h_center=(8, 8))
    return jax.vmap(convolve, in_axes=-1, out_axes=-1)(picture)


def make(photo: str, seed: int) -> Problem:
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    noise = NOISE * jax.random.normal(jax.random.key(seed), truth.shape)
    data = blur(truth) + noise
    return Problem(truth, Partial(blur), data, jnp.clip(data, 0, 1), np.clip(data, 0, 1))


def by_channel(solve, problem: Problem, *_):
    """A method for gray pictures, on each channel; borders are wrapped, so that they fit."""
    psf, reach = point_spread(), 16
    wrapped = np.pad(np.asarray(problem.data), [(reach, reach)] * 2 + [(0, 0)], mode="wrap")
    channels = [solve(np.clip(channel, 0, 1), psf) for channel in np.moveaxis(wrapped, -1, 0)]
    picture = np.stack(channels, -1)[reach:-reach, reach:-reach]
    return picture.astype(np.float32), problem.start.size


def richardson(iterations: int):
    """Richardson and Lucy's method with so many iterations."""
    return partial(by_channel, lambda data, psf: richardson_lucy(data, psf, num_iter=iterations))


OTHERS = {
    "Wiener": partial(by_channel, lambda data, psf: wiener(data, psf, BALANCE)),
    "Richardson-Lucy": richardson(ITERATIONS),
}


def methods(settings: Settings) -> dict:
    return linear_methods(settings) | OTHERS


if __name__ == "__main__":
    main("inverse_deblur", "deblurring", of_each(make), methods, SETTINGS)
