"""Denoising of a cube of 31 channels, synthetic; against TV and principal components.

    python -m experiments.inverse.hyperspectral [SEED ...] [--out FOLDER]

A mixture of four smooth spectra: regions with hard borders, shaded smoothly. A site has a spectrum,
so that its place is told by 31 channels at once.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from skimage.restoration import denoise_tv_chambolle

from experiments.inverse.common import (
    Problem,
    Settings,
    arguments,
    linear_methods,
    run,
    settings_of,
)

SIDE, CHANNELS, MATERIALS = 64, 31, 4
REGIONS = 14
NOISE = 0.1  # standard deviation
SETTINGS = Settings(sites=150, tv=3e-2, tv_sites=300, tv_solver="gauss_newton")


def cube(rng: np.random.Generator) -> np.ndarray:
    """float[SIDE, SIDE, CHANNELS] in [0, 1]."""
    wave = np.linspace(0, 1, CHANNELS)
    centres, widths = rng.uniform(0, 1, (2, MATERIALS, 1)) * [[[1.0]], [[0.3]]] + [[[0.0]], [[0.1]]]
    spectra = 0.15 + 0.75 * np.exp(-(((wave - centres) / widths) ** 2) / 2)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    seeds = rng.uniform(0, 1, (REGIONS, 2))
    near = np.argmin((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2, -1)
    shares = rng.dirichlet(np.full(MATERIALS, 0.5), REGIONS)[near]
    shade = 0.8 + 0.2 * np.sin(2 * np.pi * (x * rng.uniform(0.5, 1.5) + y * rng.uniform(0.5, 1.5)))
    return np.clip(shares @ spectra * shade[..., None], 0, 1).astype(np.float32)


def same(picture: jax.Array) -> jax.Array:
    return picture


def make(which: int, seed: int) -> Problem:
    rng = np.random.default_rng(100 * which + seed)
    truth = cube(rng)
    data = jnp.asarray(truth + NOISE * rng.normal(size=truth.shape), jnp.float32)
    return Problem(truth, Partial(same), data, jnp.clip(data, 0, 1), np.clip(data, 0, 1))


def components(problem: Problem, *_):
    """The first principal components, as many as there are materials."""
    flat = np.asarray(problem.data, np.float64).reshape(-1, CHANNELS)
    mean = flat.mean(0)
    u, s, v = np.linalg.svd(flat - mean, full_matrices=False)
    kept = (u[:, :MATERIALS] * s[:MATERIALS]) @ v[:MATERIALS] + mean
    return kept.reshape(problem.truth.shape).astype(np.float32), problem.start.size


def components_and_tv(problem: Problem, *_):
    """TV of the components' maps, each scaled to the noise."""
    flat = np.asarray(problem.data, np.float64).reshape(-1, CHANNELS)
    mean = flat.mean(0)
    _, _, v = np.linalg.svd(flat - mean, full_matrices=False)
    maps = ((flat - mean) @ v[:MATERIALS].T).reshape(SIDE, SIDE, MATERIALS)
    smooth = denoise_tv_chambolle(maps, weight=NOISE, channel_axis=-1, max_num_iter=500)
    picture = smooth.reshape(-1, MATERIALS) @ v[:MATERIALS] + mean
    return picture.reshape(problem.truth.shape).astype(np.float32), problem.start.size


if __name__ == "__main__":
    args = arguments(__doc__.splitlines()[0], SETTINGS, ["1"])
    problems = {f"cube {which}": partial(make, int(which)) for which in args.photos}
    methods = linear_methods(settings_of(args)) | {
        "components": components,
        "components + TV": components_and_tv,
    }
    run("inverse_hyperspectral", f"denoising, {CHANNELS} channels", problems, methods, args)
