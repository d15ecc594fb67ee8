"""Inpainting: 80 % of the pixels missing, or blocks; against TV and biharmonic inpainting.

    python -m experiments.inverse.inpaint [PHOTO ...] [--out FOLDER]

What is known has noise. PSNR counts the missing pixels only. The operator is scico's diagonal. Half
of an ensemble has the total variation and starts from TV's picture over pixels, the other half has
the second variation and starts from the biharmonic one.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scico.linop import Diagonal
from scipy.ndimage import distance_transform_edt
from skimage.restoration import inpaint_biharmonic

from experiments.inverse.common import (
    MEAN,
    Found,
    Problem,
    Settings,
    crop,
    ensemble,
    gauss_newton,
    main,
    minimize,
    penalised,
    primal_dual,
    run_tv,
    squared,
    title_of,
)
from sad_jax import priors

SIDE, CORNER = 128, (130, 70)
MISSING = 0.8
BLOCKS, BLOCK = 24, 14  # squares of so many pixels a side
NOISE = 0.01  # standard deviation
SECOND = 1e-3  # weight of the second variation
SITES_TV = 1e-3  # weight of TV over sites
SETTINGS = Settings(sites=1200, tv=3e-4, tv_sites=1200, tv_solver="gauss_newton")


def scattered(key: jax.Array) -> jax.Array:
    """bool[H, W], the known pixels: each one with probability 1 - MISSING."""
    return jax.random.uniform(key, (SIDE, SIDE)) > MISSING


def blocks(key: jax.Array) -> jax.Array:
    """bool[H, W], the known pixels: all but BLOCKS squares."""
    corners = jax.random.randint(key, (BLOCKS, 2, 1, 1), 0, SIDE - BLOCK)
    place = jnp.stack(jnp.meshgrid(jnp.arange(SIDE), jnp.arange(SIDE), indexing="ij"))
    inside = jnp.all((place >= corners) & (place < corners + BLOCK), 1)
    return ~jnp.any(inside, 0)


def masked(mask: jax.Array, picture: jax.Array) -> jax.Array:
    return Diagonal(mask)(picture)


KINDS = {"80 % missing": scattered, "blocks": blocks}


def make(photo: str, kind: str, seed: int) -> Problem:
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    mask_key, noise_key = jax.random.split(jax.random.key(seed))
    known = KINDS[kind](mask_key)
    operator = Partial(masked, jnp.broadcast_to(known[..., None], truth.shape).astype(jnp.float32))
    data = operator(truth + NOISE * jax.random.normal(noise_key, truth.shape))
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    start = jnp.clip(data[tuple(nearest)], 0, 1)  # each missing pixel as the nearest known one
    return Problem(truth, operator, data, start, np.clip(data, 0, 1), np.asarray(~known))


def biharmonic(problem: Problem, *_):
    data, missing = np.array(problem.start), np.array(problem.counts)  # it wants to write
    picture = inpaint_biharmonic(data, missing, channel_axis=-1)
    return picture.astype(np.float32), problem.start.size


def mean_of_both(problem: Problem, settings: Settings, seed: int):
    """Of TV and biharmonic inpainting."""
    both = [run_tv(problem, settings, seed)[0], biharmonic(problem)[0]]
    return jnp.mean(jnp.stack(both), 0), problem.start.size


def smooth(picture: jax.Array, operator, data: jax.Array, weight: float) -> jax.Array:
    """mean |A(c) - y|^2 and the second variation."""
    return squared(picture, operator, data) + weight * priors.second_variation(picture)


def sad_tv(problem: Problem, settings: Settings, seed: int):
    """A single start, from the nearest known pixels."""
    options = gauss_newton(settings.newton_steps)
    return minimize(problem, seed, settings.tv_sites, penalised, settings.tv, **options)


def two_priors(problem: Problem, settings: Settings, seed: int) -> Found:
    """The mean of two ensembles, and the standard deviation of all their members."""
    starts = [run_tv(problem, settings, seed)[0], biharmonic(problem)[0]]
    losses = (penalised, SITES_TV), (smooth, SECOND)
    first, second = (
        ensemble(dataclasses.replace(problem, start=jnp.asarray(start)), settings, seed, *loss)
        for start, loss in zip(starts, losses, strict=True)
    )
    n = settings.members
    within = (n - 1) * (first.std**2 + second.std**2)
    between = n * (first.picture - second.picture) ** 2 / 2
    std = jnp.sqrt((within + between) / (2 * n - 1))
    return Found((first.picture + second.picture) / 2, 2 * first.parameters, std)


def second_order_of_pixels(problem: Problem, settings: Settings, _):
    """The same loss over pixels."""
    edges, scale = lambda c: priors.bends(c) / np.sqrt(8), np.sqrt(8)  # |bends|^2 <= 64
    picture = primal_dual(problem, edges, scale * SECOND, settings.tv_steps)
    return picture, problem.start.size


def nearest(problem: Problem, *_):
    return problem.start, problem.start.size


def problems(photos: list[str]) -> dict:
    return {
        f"{title_of(photo)}, {kind}": partial(make, photo, kind)
        for photo in photos
        for kind in KINDS
    }


def methods(settings: Settings) -> dict:
    return {
        "SAD + TV": sad_tv,
        f"SAD + two priors{MEAN}{2 * settings.members}": two_priors,
        "TV": run_tv,
        "second variation": second_order_of_pixels,
        "TV and biharmonic, mean": mean_of_both,
        "biharmonic": biharmonic,
        "nearest": nearest,
    }


if __name__ == "__main__":
    main("inverse_inpaint", "inpainting", problems, methods, SETTINGS)
