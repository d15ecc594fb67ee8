"""Sparse-view CT: 30 parallel-beam views, photon noise; against filtered back projection.

    python -m experiments.inverse.ct [NAME ...] [--out FOLDER]

The projector is scico's. Data are simulated on a grid of twice the resolution, and reconstructed
and compared at half of it; the phantoms are Shepp and Logan's and random, soft and hard ellipses.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scico.linop.xray import XRayTransform2D

from experiments.inverse.common import Problem, Settings, linear_methods, main, of_each
from experiments.inverse.phantoms import PHANTOMS

SIDE = 128
VIEWS = 30
PHOTONS = 1e4  # a detector bin, before the object
ABSORPTION = 0.03  # per pixel, of a value of one
PIXEL = float(np.sqrt(0.5))  # side of a pixel in detector bins, scico's default
SETTINGS = Settings(sites=200, tv=30.0, tv_sites=200, tv_solver="gauss_newton")


@cache
def projector(side: int) -> XRayTransform2D:
    """Parallel beams through a square of SIDE pixels, drawn with ``side`` pixels a side."""
    angles = np.linspace(0, np.pi, VIEWS, endpoint=False)
    pixel = PIXEL * SIDE / side
    return XRayTransform2D((side, side), angles, dx=(pixel, pixel), det_count=SIDE + 2)


def views(picture: jax.Array) -> jax.Array:
    """float[SIDE, SIDE, 1] -> float[VIEWS, SIDE + 2]."""
    return projector(SIDE)(picture[..., 0])


def make(phantom, seed: int) -> Problem:
    fine = jnp.asarray(phantom(2 * SIDE, seed), jnp.float32)
    truth = fine.reshape(SIDE, 2, SIDE, 2).mean((1, 3))[..., None]
    line = ABSORPTION * projector(2 * SIDE)(fine) / 4  # scico adds up pixels, whatever their size
    counts = jax.random.poisson(jax.random.key(seed), PHOTONS * jnp.exp(-line))
    data = -jnp.log(jnp.maximum(counts, 1) / PHOTONS) / ABSORPTION
    start = jnp.clip(projector(SIDE).fbp(data), 0, 1)[..., None]
    shown = data / data.max()
    return Problem(truth, Partial(views), data, start, np.asarray(shown)[..., None])


def fbp(problem: Problem, *_):
    """Filtered back projection, which is also where the others start."""
    return projector(SIDE).fbp(problem.data)[..., None], problem.start.size


def methods(settings: Settings) -> dict:
    return linear_methods(settings) | {"FBP": fbp}


if __name__ == "__main__":
    problems = of_each(make, PHANTOMS)
    main("inverse_ct", f"CT, {VIEWS} views", problems, methods, SETTINGS, list(PHANTOMS))
