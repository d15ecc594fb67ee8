"""Super-resolution by 4 from eight frames whose shifts are unknown: found beside the sites.

    python -m experiments.inverse.multiframe [PHOTO ...] [--out FOLDER]

Frames are area averages of the shifted picture (periodic, by the Fourier transform), with noise.
Sites and shifts are unknowns of one loss, which starts from the shifts that phase correlation finds
(Guizar-Sicairos 2008). TV over pixels keeps those; a row is told the true ones.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from skimage.registration import phase_cross_correlation

import sad_jax as sad
from experiments.inverse.common import (
    PARAMETERS,
    Problem,
    Settings,
    crop,
    main,
    of_each,
    run_tv,
    with_params,
)
from experiments.inverse.superres import FACTOR, averaged, lanczos
from sad_jax import priors

SIDE, CORNER = 128, (130, 70)
FRAMES = 8
REACH = 6.0  # of the shifts, in fine pixels either way
NOISE = 0.02  # standard deviation
SHIFT_RATE = 0.03  # of Adam, in fine pixels
FINER = 20  # parts of a coarse pixel in which phase correlation answers
SETTINGS = Settings(sites=1000, tv=5e-3, tv_sites=1600, tv_solver="adam")


def shifted(picture: jax.Array, shift: jax.Array) -> jax.Array:
    """The picture moved by (dy, dx) pixels, periodic."""
    fy, fx = jnp.fft.fftfreq(SIDE)[:, None], jnp.fft.fftfreq(SIDE)[None, :]
    turn = jnp.exp(-2j * jnp.pi * (fy * shift[0] + fx * shift[1]))[..., None]
    return jnp.fft.ifft2(jnp.fft.fft2(picture, axes=(0, 1)) * turn, axes=(0, 1)).real


def frames(shifts: jax.Array, picture: jax.Array) -> jax.Array:
    """float[FRAMES, SIDE / FACTOR, SIDE / FACTOR, C]."""
    return jax.vmap(lambda shift: averaged(shifted(picture, shift)))(shifts)


def make(told: dict, photo: str, seed: int) -> Problem:
    """``told`` is where the true shifts are kept for the row that is told them."""
    truth = jnp.asarray(crop(photo, CORNER, SIDE))
    shift_key, noise_key = jax.random.split(jax.random.key(seed))
    shifts = jax.random.uniform(shift_key, (FRAMES, 2), minval=-REACH, maxval=REACH)
    shifts = shifts.at[0].set(0)  # the frame that says where the picture lies
    told["shifts"] = shifts
    data = frames(shifts, truth)
    data = data + NOISE * jax.random.normal(noise_key, data.shape)
    first, *others = np.asarray(data).mean(-1)
    found = [phase_cross_correlation(first, f, upsample_factor=FINER)[0] for f in others]
    guess = -FACTOR * np.asarray([np.zeros(2), *found])  # how far each frame is from the first
    start = jnp.clip(data[0], 0, 1).repeat(FACTOR, 0).repeat(FACTOR, 1)
    operator = Partial(frames, jnp.asarray(guess, jnp.float32))
    return Problem(truth, operator, data, start, np.clip(data[0], 0, 1))


def joint(picture: jax.Array, shifts: jax.Array, data: jax.Array, weight: float) -> jax.Array:
    """Of picture and shifts; the first frame is not shifted."""
    error = frames(shifts.at[0].set(0), picture) - data
    return jnp.mean(error**2) + weight * priors.total_variation(picture)


def sad_joint(told: dict, problem: Problem, settings: Settings, seed: int):
    """Sites and shifts at once."""
    guess = problem.operator.args[0]
    state = with_params(joint, guess, SHIFT_RATE, problem, settings, seed)
    off = lambda shifts: float(jnp.sqrt(jnp.mean((shifts - told["shifts"])[1:] ** 2)))  # noqa: E731
    told["off"] = {"found": off(state.params), "by correlation": off(guess)}
    print(f"shifts are off by {told['off']}", flush=True)
    numbers = settings.tv_sites * (PARAMETERS + problem.start.shape[2]) + problem.data.shape[0] * 2
    return sad.render(state.sites, state.lists), numbers


def tv_told(told: dict, problem: Problem, settings: Settings, seed: int):
    """TV with the true shifts."""
    operator = Partial(frames, told["shifts"])
    return run_tv(dataclasses.replace(problem, operator=operator), settings, seed)


def first_frame(problem: Problem, *_):
    return lanczos(dataclasses.replace(problem, data=problem.data[0]))


def methods(told: dict, _: Settings) -> dict:
    return {
        "SAD + TV, shifts found": partial(sad_joint, told),
        "TV, shifts by correlation": run_tv,
        "TV, true shifts": partial(tv_told, told),
        "Lanczos, one frame": first_frame,
    }


if __name__ == "__main__":
    told: dict = {}
    title, problems = f"{FRAMES} frames, unknown shifts", of_each(partial(make, told))
    main("inverse_multiframe", title, problems, partial(methods, told), SETTINGS)
