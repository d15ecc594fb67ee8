"""Phase retrieval: intensities behind coded masks, photon noise; against alternating projections.

    python -m experiments.inverse.phase [PHOTO ...] [--out FOLDER]

Data are the amplitudes |F(m c)| of a few known masks m of random phases (Candes, Li and
Soltanolkotabi 2015), which tell a picture from its mirror. The loss mean (|F(m c)| - y)^2 is not
convex; over sites, with TV, it is minimised by Gauss-Newton of its linear part.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import sad_jax as sad
from experiments.inverse.common import (
    Problem,
    Settings,
    crop,
    ensemble,
    main,
    name_of_mean,
    of_each,
)
from sad_jax import priors

SIDE, CORNER = 96, (130, 70)
MASKS = 2
PHOTONS = 30.0  # a pixel and mask, of a white picture
FLOOR = 1e-4  # of the amplitudes, where they have no slope
SETTINGS = Settings(sites=600, tv=8e-2, tv_sites=800, tv_solver="gauss_newton", newton_steps=30)


def amplitudes(masks: jax.Array, picture: jax.Array) -> jax.Array:
    """float[MASKS, SIDE, SIDE, C]."""
    field = jnp.fft.fft2(masks[..., None] * picture, axes=(1, 2), norm="ortho")
    return jnp.sqrt(field.real**2 + field.imag**2 + FLOOR**2)


def make(photo: str, seed: int) -> Problem:
    truth = jnp.asarray(crop(photo, CORNER, SIDE)).mean(-1, keepdims=True)
    mask_key, noise_key = jax.random.split(jax.random.key(seed))
    turns = jax.random.uniform(mask_key, (MASKS, SIDE, SIDE))
    operator = Partial(amplitudes, jnp.exp(2j * jnp.pi * turns))
    counts = jax.random.poisson(noise_key, PHOTONS * operator(truth) ** 2)
    data = jnp.sqrt(counts / PHOTONS)
    start = jnp.full_like(truth, jnp.sqrt(jnp.mean(data**2)))  # of the light that is seen
    return Problem(truth, operator, data, start, np.clip(data[0], 0, 1))


def projections(problem: Problem, settings: Settings, _):
    """Gerchberg and Saxton: phases of the picture, amplitudes of the data, to and fro."""
    return _projections(problem.operator, problem.data, problem.start), problem.start.size


@jax.jit
def _projections(operator, data: jax.Array, start: jax.Array) -> jax.Array:
    (masks,) = operator.args
    masks = masks[..., None]

    def step(_, picture: jax.Array) -> jax.Array:
        field = jnp.fft.fft2(masks * picture, axes=(1, 2), norm="ortho")
        field = data * jnp.exp(1j * jnp.angle(field))
        back = jnp.conj(masks) * jnp.fft.ifft2(field, axes=(1, 2), norm="ortho")
        return jnp.clip(jnp.mean(back.real, 0), 0, 1)

    return jax.lax.fori_loop(0, 300, step, start)


def bent(picture: jax.Array, operator, data: jax.Array, weight: float) -> jax.Array:
    """Squares of the amplitudes' errors, and TV, both convex to Gauss-Newton's eye."""
    error = sad.linearized(operator)(picture) - data
    return jnp.mean(error**2) + weight * priors.total_variation(picture)


def sad_tv(problem: Problem, settings: Settings, seed: int):
    """From several starts."""
    return ensemble(problem, settings, seed, bent, settings.tv)


def pixels_tv(problem: Problem, settings: Settings, seed: int):
    """TV's loss over pixels, by Adam from where projections end."""
    start = projections(problem, settings, seed)[0]
    return _adam_tv(problem.operator, problem.data, start, settings.tv), problem.start.size


@jax.jit
def _adam_tv(operator, data: jax.Array, start: jax.Array, weight: float) -> jax.Array:
    optimizer = optax.adam(optax.cosine_decay_schedule(0.01, 600, 0.01))

    def step(_, carry):
        picture, state = carry
        updates, state = optimizer.update(jax.grad(bent)(picture, operator, data, weight), state)
        return jnp.clip(picture + updates, 0, 1), state

    return jax.lax.fori_loop(0, 600, step, (start, optimizer.init(start)))[0]


def methods(settings: Settings) -> dict:
    return {
        name_of_mean("SAD + TV", settings): sad_tv,
        "TV": pixels_tv,
        "alternating projections": projections,
    }


if __name__ == "__main__":
    title = f"phase retrieval, {MASKS} masks"
    main("inverse_phase", title, of_each(make), methods, SETTINGS)
