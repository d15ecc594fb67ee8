"""Inpainting: 80 % of the pixels missing, or blocks; against TV and biharmonic inpainting.

    python -m experiments.inverse.inpaint [PHOTO ...] [--out FOLDER]

What is known has noise. PSNR counts the missing pixels only. The operator is scico's diagonal. One
row chooses its prior by what it predicts of known pixels that are held out, or of known blocks.
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
    Problem,
    Settings,
    crop,
    ensemble,
    linear_methods,
    main,
    minimize,
    primal_dual,
    run_tv,
    squared,
    title_of,
)
from sad_jax import priors, tuning

SIDE, CORNER = 128, (130, 70)
MISSING = 0.8
BLOCKS, BLOCK = 24, 14  # squares of so many pixels a side
NOISE = 0.01  # standard deviation
SECOND = 1e-3  # weight of the prior of second order over pixels
CHOICES = ((3e-3, 0.0), (0.0, 1e-3), (0.0, 4e-3))  # weights of TV and of the second order
HELD_OUT = 0.15  # of the pixels, or blocks
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


@dataclasses.dataclass(frozen=True)
class Inpainting(Problem):
    """``hole``: side of what is missing in one piece, in pixels."""

    hole: int = 1


KINDS = {"80 % missing": (scattered, 1), "blocks": (blocks, BLOCK)}


def make(photo: str, kind: str, seed: int) -> Inpainting:
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    mask_key, noise_key = jax.random.split(jax.random.key(seed))
    draw, hole = KINDS[kind]
    noisy = truth + NOISE * jax.random.normal(noise_key, truth.shape)
    return posed(truth, noisy, draw(mask_key), hole)


def posed(truth: jax.Array, noisy: jax.Array, known: jax.Array, hole: int) -> Inpainting:
    operator = Partial(masked, jnp.broadcast_to(known[..., None], truth.shape).astype(jnp.float32))
    data = operator(noisy)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    start = jnp.clip(data[tuple(nearest)], 0, 1)  # each missing pixel as the nearest known one
    return Inpainting(
        truth, operator, data, start, np.clip(data, 0, 1), np.asarray(~known), hole=hole
    )


def biharmonic(problem: Problem, *_):
    data, missing = np.array(problem.start), np.array(problem.counts)  # it wants to write
    picture = inpaint_biharmonic(data, missing, channel_axis=-1)
    return picture.astype(np.float32), problem.start.size


def mean_of_both(problem: Problem, settings: Settings, seed: int):
    """Of TV and biharmonic inpainting."""
    both = [run_tv(problem, settings, seed)[0], biharmonic(problem)[0]]
    return jnp.mean(jnp.stack(both), 0), problem.start.size


def chosen(problem: Inpainting, settings: Settings, seed: int):
    """An ensemble whose start and whose prior are those that best predict what is held out."""
    known = jnp.asarray(~problem.counts)
    side = (problem.hole, problem.hole)
    out = known & tuning.hold_out(known.shape, HELD_OUT, key=jax.random.key(seed), block=side)
    rounds = [np.broadcast_to(out[..., None], problem.data.shape)]
    rest = posed(problem.truth, problem.data, known & ~out, problem.hole)
    starts = {f: np.asarray(f(rest, settings, seed)[0]) for f in (mean_of_both, run_tv, biharmonic)}
    first = tuning.by_held_out(lambda f, _: starts[f], list(starts), problem.data, rounds).choice
    rest = dataclasses.replace(rest, start=jnp.asarray(starts[first]))

    def predict(weights: tuple[float, float], _) -> jax.Array:
        options = settings.solver()
        return minimize(rest, seed, settings.tv_sites, either, *weights, **options)[0]

    weights = tuning.by_held_out(predict, CHOICES, problem.data, rounds).choice
    print(f"from {first.__name__}, weights of TV and of the second order {weights}", flush=True)
    whole = dataclasses.replace(problem, start=jnp.asarray(first(problem, settings, seed)[0]))
    return ensemble(whole, settings, seed, either, *weights)


def either(picture: jax.Array, operator, data: jax.Array, tv: float, second: float) -> jax.Array:
    """One prior or the other, by weights, one of which is zero."""
    prior = tv * priors.total_variation(picture) + second * priors.second_variation(picture)
    return squared(picture, operator, data) + prior


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
    return linear_methods(settings) | {
        f"SAD + chosen prior, mean of {settings.members}": chosen,
        "second order": second_order_of_pixels,
        "TV and biharmonic, mean": mean_of_both,
        "biharmonic": biharmonic,
        "nearest": nearest,
    }


if __name__ == "__main__":
    main("inverse_inpaint", "inpainting", problems, methods, SETTINGS)
