"""Super-resolution by 4 in each direction: area averages and noise; against Lanczos.

    python -m experiments.inverse.superres [PHOTO ...] [--out FOLDER]

The operator is JAX's own mean over 4 x 4 pixels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from PIL import Image

from experiments.inverse.common import Problem, Settings, crop, linear_methods, main, of_each

SIDE, CORNER = 128, (130, 70)
FACTOR = 4
NOISE = 0.01  # standard deviation
SETTINGS = Settings(sites=1000, tv=1e-2, tv_sites=1000, tv_solver="adam")


def averaged(picture: jax.Array) -> jax.Array:
    """The mean of FACTOR x FACTOR pixels, [H, W, C] -> [H / FACTOR, W / FACTOR, C]."""
    height, width, channels = picture.shape
    parts = picture.reshape(height // FACTOR, FACTOR, width // FACTOR, FACTOR, channels)
    return parts.mean((1, 3))


def make(photo: str, seed: int) -> Problem:
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    data = averaged(truth)
    data = data + NOISE * jax.random.normal(jax.random.key(seed), data.shape)
    start = jnp.clip(data, 0, 1).repeat(FACTOR, 0).repeat(FACTOR, 1)
    return Problem(truth, Partial(averaged), data, start, np.clip(data, 0, 1))


def lanczos(problem: Problem, *_):
    """Pillow's, on each channel in floating point."""
    size = problem.truth.shape[1], problem.truth.shape[0]
    channels = [Image.fromarray(np.array(c)) for c in np.moveaxis(problem.data, -1, 0)]
    enlarged = [np.asarray(c.resize(size, Image.Resampling.LANCZOS)) for c in channels]
    return np.stack(enlarged, -1), problem.start.size


def methods(settings: Settings) -> dict:
    return linear_methods(settings) | {"Lanczos": lanczos}


if __name__ == "__main__":
    main("inverse_superres", "super-resolution", of_each(make), methods, SETTINGS)
