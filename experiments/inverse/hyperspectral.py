"""Denoising of a cube of 31 channels, synthetic; against TV and principal components.

    python -m experiments.inverse.hyperspectral [SEED ...] [--out FOLDER]

A mixture of four smooth spectra: regions with hard borders, shaded smoothly. A site has a spectrum,
so that its place is told by 31 channels at once.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from skimage.restoration import denoise_tv_chambolle

from experiments.inverse.common import (
    Problem,
    Settings,
    main,
    name_of_mean,
    run_ensemble,
    with_tv,
)

SIDE, CHANNELS, MATERIALS = 64, 31, 4
REGIONS = 14
NOISE = 0.1  # standard deviation
MAPS_TV = 1.0  # weight of TV of the components' maps, over the noise
SETTINGS = Settings(sites=150, tv=3e-2, tv_sites=300, tv_solver="gauss_newton", newton_steps=30)


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


def principal(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean spectrum [CHANNELS], first components [MATERIALS, CHANNELS], and their maps."""
    flat = np.asarray(problem.data, np.float64).reshape(-1, CHANNELS)
    mean = flat.mean(0)
    first = np.linalg.svd(flat - mean, full_matrices=False)[2][:MATERIALS]
    return mean, first, ((flat - mean) @ first.T).reshape(SIDE, SIDE, MATERIALS)


def from_maps(problem: Problem, maps_of=lambda maps: maps):
    """The cube of the components' maps, as many as there are materials, once ``maps_of`` is done.

    Noise of the components is that of the channels, and all other noise is gone.
    """
    mean, first, maps = principal(problem)
    cube = np.asarray(maps_of(maps), np.float64) @ first + mean
    return cube.astype(np.float32), problem.start.size


def components(problem: Problem, *_):
    return from_maps(problem)


def components_and_tv(problem: Problem, *_):
    return from_maps(
        problem,
        lambda maps: denoise_tv_chambolle(
            maps, weight=MAPS_TV * NOISE, channel_axis=-1, max_num_iter=500
        ),
    )


def sad_of_components(problem: Problem, settings: Settings, seed: int):
    """The same loss over sites of so many channels, from several starts."""
    ensembles = []

    def maps_of(maps: np.ndarray) -> np.ndarray:
        low, length = maps.min(), np.ptp(maps)
        data = jnp.asarray((maps - low) / length, jnp.float32)
        reduced = Problem(data, Partial(same), data, data, data)
        weight = 2 * MAPS_TV * NOISE / (MATERIALS * length)  # ours is a mean of squares
        few = dataclasses.replace(settings, tv=weight)
        ensembles.append((run_ensemble(reduced, few, seed), low, length))
        return length * np.asarray(ensembles[0][0].picture) + low

    cube, _ = from_maps(problem, maps_of)
    (found, low, length), first = ensembles[0], principal(problem)[1]
    std = np.sqrt((length * np.asarray(found.std)) ** 2 @ first**2).astype(np.float32)
    alone, _ = from_maps(problem, lambda _: length * np.asarray(found.first) + low)
    return cube, found.parameters, std, alone


def methods(settings: Settings) -> dict:
    return with_tv(settings) | {
        name_of_mean("SAD + TV of components", settings): sad_of_components,
        "components": components,
        "components + TV": components_and_tv,
    }


def cubes(given: list[str]) -> dict:
    return {f"cube {which}": partial(make, int(which)) for which in given}


if __name__ == "__main__":
    title = f"denoising, {CHANNELS} channels"
    main("inverse_hyperspectral", title, cubes, methods, SETTINGS, ["1"])
