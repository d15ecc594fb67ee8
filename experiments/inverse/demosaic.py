"""Demosaicing: one colour a pixel (Bayer's RGGB), noise; against Malvar's filters and bilinear.

python -m experiments.inverse.demosaic [PHOTO ...] [--out FOLDER]
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.ndimage import correlate

from experiments.inverse.common import Problem, Settings, crop, main, of_each, with_tv

SIDE, CORNER = 128, (130, 70)
NOISE = 0.02  # standard deviation
SETTINGS = Settings(sites=2400, tv=2e-3, tv_sites=2400, tv_solver="gauss_newton", newton_steps=30)
BILINEAR = np.outer((1, 2, 1), (1, 2, 1))
# Malvar, He and Cutler (2004), eighths: green at red or blue; red at green in its row; in its
# column, the same turned; red at blue
GREEN = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
ACROSS = [
    [0, 0, 0.5, 0, 0],
    [0, -1, 0, -1, 0],
    [-1, 4, 5, 4, -1],
    [0, -1, 0, -1, 0],
    [0, 0, 0.5, 0, 0],
]
OTHER = [
    [0, 0, -1.5, 0, 0],
    [0, 2, 0, 2, 0],
    [-1.5, 0, 6, 0, -1.5],
    [0, 2, 0, 2, 0],
    [0, 0, -1.5, 0, 0],
]


def bayer() -> np.ndarray:
    """bool[SIDE, SIDE, 3], the colour that each pixel sees."""
    y, x = np.mgrid[:SIDE, :SIDE] % 2
    return np.stack([(y == 0) & (x == 0), y != x, (y == 1) & (x == 1)], -1)


def mosaic(mask: jax.Array, picture: jax.Array) -> jax.Array:
    return mask * picture


def make(photo: str, seed: int) -> Problem:
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    operator = Partial(mosaic, jnp.asarray(bayer(), jnp.float32))
    noise = NOISE * jax.random.normal(jax.random.key(seed), truth.shape)
    data = operator(truth + noise)
    start = jnp.asarray(_bilinear(np.asarray(data)))
    return Problem(truth, operator, data, start, np.clip(data, 0, 1))


def _bilinear(data: np.ndarray) -> np.ndarray:
    """Each colour as the mean of its neighbours, each pixel's own as it was seen."""
    mask = bayer().astype(np.float32)
    by_channel = partial(correlate, weights=BILINEAR[..., None].astype(np.float32), mode="mirror")
    mean = by_channel(data) / by_channel(mask)
    return np.clip(np.where(mask, data, mean), 0, 1).astype(np.float32)


def bilinear(problem: Problem, *_):
    return problem.start, problem.start.size


def malvar(problem: Problem, *_):
    """Linear filters which correct the mean by the curvature of the colour that is seen."""
    mask, seen = bayer(), np.sum(np.asarray(problem.data), -1)
    green, across, other = (
        correlate(seen, np.asarray(f, np.float32) / 8, mode="mirror")
        for f in (GREEN, ACROSS, OTHER)
    )
    along = correlate(seen, np.asarray(ACROSS, np.float32).T / 8, mode="mirror")
    even_row = np.arange(SIDE)[:, None] % 2 == 0
    found = np.empty((SIDE, SIDE, 3), np.float32)
    for channel, its_row in ((0, even_row), (2, ~even_row)):
        at_green = np.where(its_row, across, along)
        found[..., channel] = np.where(mask[..., 1], at_green, other)
    found[..., 1] = green
    picture = np.where(mask, seen[..., None], found)
    return np.clip(picture, 0, 1), problem.start.size


def methods(settings: Settings) -> dict:
    return with_tv(settings) | {"Malvar": malvar, "bilinear": bilinear}


if __name__ == "__main__":
    main("inverse_demosaic", "demosaicing", of_each(make), methods, SETTINGS)
