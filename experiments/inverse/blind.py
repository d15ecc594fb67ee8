"""Blind deblurring: picture and kernel unknown, noise, periodic borders; the kernel beside sites.

    python -m experiments.inverse.blind [PHOTO ...] [--out FOLDER]

The kernel is a softmax of numbers that the loss takes beside the picture. Over pixels the same loss
is minimised by the same optimiser from the same start; a row of TV is told the true kernel.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import sad_jax as sad
from experiments.inverse.common import (
    PARAMETERS,
    PIXEL_RATE,
    Problem,
    Settings,
    crop,
    main,
    of_each,
    run_tv,
    with_params,
)
from sad_jax import priors

SIDE, CORNER = 128, (130, 70)
REACH = 6  # of the kernel, in pixels either way
NOISE = 0.01  # standard deviation
KERNEL_RATE = 0.05  # of Adam
SETTINGS = Settings(sites=600, tv=1.5e-3, tv_sites=1200, tv_solver="adam")


def kernel_of(seed: int) -> np.ndarray:
    """float32[2 REACH + 1, 2 REACH + 1]: a Gaussian, longer one way than the other, of sum one."""
    rng = np.random.default_rng(seed)
    angle, (along, across) = rng.uniform(0, np.pi), (rng.uniform(2, 3), rng.uniform(0.6, 1.2))
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-((u / along) ** 2 + (v / across) ** 2) / 2)
    return (kernel / kernel.sum()).astype(np.float32)


def blur(kernel: jax.Array, picture: jax.Array) -> jax.Array:
    """Every channel, periodic, float[SIDE, SIDE, C]."""
    padded = jnp.zeros((SIDE, SIDE)).at[: len(kernel), : len(kernel)].set(kernel)
    turned = jnp.fft.fft2(jnp.roll(padded, (-REACH, -REACH), (0, 1)))[..., None]
    return jnp.fft.ifft2(jnp.fft.fft2(picture, axes=(0, 1)) * turned, axes=(0, 1)).real


def make(photo: str, seed: int) -> Problem:
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    operator = Partial(blur, jnp.asarray(kernel_of(seed)))
    data = operator(truth) + NOISE * jax.random.normal(jax.random.key(seed), truth.shape)
    return Problem(truth, operator, data, jnp.clip(data, 0, 1), np.clip(data, 0, 1))


def first_guess() -> jax.Array:
    """Logits of a round Gaussian of 1.5 pixels."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    return jnp.asarray(-(x**2 + y**2) / (2 * 1.5**2), jnp.float32)


def joint(picture: jax.Array, logits: jax.Array, data: jax.Array, weight: float) -> jax.Array:
    kernel = jax.nn.softmax(logits.ravel()).reshape(logits.shape)
    error = blur(kernel, picture) - data
    return jnp.mean(error**2) + weight * priors.total_variation(picture)


def sad_joint(problem: Problem, settings: Settings, seed: int):
    """Sites and kernel at once."""
    state = with_params(joint, first_guess(), KERNEL_RATE, problem, settings, seed)
    numbers = settings.tv_sites * (PARAMETERS + problem.start.shape[2]) + first_guess().size
    return sad.render(state.sites, state.lists), numbers


def pixels_joint(problem: Problem, settings: Settings, _):
    """Pixels and kernel at once."""
    picture = _adam(problem.data, problem.start, settings.tv, steps=settings.adam_steps)
    return picture, problem.start.size + first_guess().size


@partial(jax.jit, static_argnames="steps")
def _adam(data: jax.Array, start: jax.Array, weight: float, *, steps: int) -> jax.Array:
    rates = {"picture": PIXEL_RATE, "kernel": KERNEL_RATE}
    parts = {name: optax.adam(rate) for name, rate in rates.items()}
    optimizer = optax.partition(parts, {"picture": "picture", "kernel": "kernel"})
    loss = lambda both: joint(both["picture"], both["kernel"], data, weight)  # noqa: E731

    def step(_, carry):
        both, state = carry
        updates, state = optimizer.update(jax.grad(loss)(both), state)
        both = optax.apply_updates(both, updates)
        return both | {"picture": jnp.clip(both["picture"], 0, 1)}, state

    both = {"picture": start, "kernel": first_guess()}
    return jax.lax.fori_loop(0, steps, step, (both, optimizer.init(both)))[0]["picture"]


def as_seen(problem: Problem, *_):
    return problem.start, problem.start.size


def methods(_: Settings) -> dict:
    return {
        "SAD + TV, kernel found": sad_joint,
        "pixels, same loss": pixels_joint,
        "TV, true kernel": run_tv,
        "as it is seen": as_seen,
    }


if __name__ == "__main__":
    main("inverse_blind", "blind deblurring", of_each(make), methods, SETTINGS)
