"""MRI: a quarter of the lines of k-space, complex data with noise; against TV and zero filling.

    python -m experiments.inverse.mri [NAME ...] [--out FOLDER]

The unknown is a complex picture z = 2 (c_0 + i c_1) - 1 - i in two real channels c of [0, 1]: a
phantom with a smooth phase. TV over pixels is the usual method (Lustig, Donoho and Pauly 2007).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.inverse.common import Problem, Settings, main, of_each, with_tv
from experiments.inverse.phantoms import PHANTOMS

SIDE = 128
LINES, CENTRE = 32, 10  # lines that are measured, of them so many in the middle
NOISE = 0.02  # standard deviation, of a picture of unit values, real and imaginary part each
SETTINGS = Settings(sites=300, tv=3e-2, tv_sites=300, tv_solver="gauss_newton", newton_steps=30)


def k_space(mask: jax.Array, picture: jax.Array) -> jax.Array:
    """float[SIDE, SIDE, 2]: the measured lines of the transform of 2 (c_0 + i c_1)."""
    seen = jnp.fft.fft2(2 * (picture[..., 0] + 1j * picture[..., 1]), norm="ortho")
    return mask[..., None] * jnp.stack([seen.real, seen.imag], -1)


def lines(rng: np.random.Generator) -> np.ndarray:
    """float32[SIDE, 1], one for a line that is measured: the low ones, others at random."""
    frequency = np.abs(np.fft.fftfreq(SIDE, 1 / SIDE))
    low = frequency < CENTRE / 2
    chance = np.where(low, 0, 1 / (1 + frequency))
    others = rng.choice(SIDE, LINES - low.sum(), replace=False, p=chance / chance.sum())
    return (low | np.isin(np.arange(SIDE), others)).astype(np.float32)[:, None]


def make(phantom, seed: int) -> Problem:
    rng = np.random.default_rng(seed + 1000)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    a, b, c = rng.uniform(-1, 1, 3)
    fine = phantom(2 * SIDE, seed)
    z = fine.reshape(SIDE, 2, SIDE, 2).mean((1, 3)) * np.exp(
        1j * (a + 2 * b * x + 2 * c * y + 3 * a * x * y)
    )
    truth = jnp.asarray(np.stack([z.real, z.imag], -1) / 2 + 0.5, jnp.float32)
    mask = jnp.asarray(lines(rng))
    operator = Partial(k_space, mask)
    noise = NOISE * jnp.asarray(rng.normal(size=truth.shape), jnp.float32)
    data = operator(truth) + mask[..., None] * noise
    seen = data - operator(jnp.full_like(truth, 0.5))  # of z alone
    zero_filled = jnp.fft.ifft2(seen[..., 0] + 1j * seen[..., 1], norm="ortho")
    start = jnp.clip(jnp.stack([zero_filled.real, zero_filled.imag], -1) / 2 + 0.5, 0, 1)
    return Problem(truth, operator, data, start, np.asarray(start))


def zero_filling(problem: Problem, *_):
    """Lines that were not measured are zero; where the others start."""
    return problem.start, problem.start.size


def methods(settings: Settings) -> dict:
    return with_tv(settings) | {"zero filling": zero_filling}


if __name__ == "__main__":
    title = f"MRI, {LINES} of {SIDE} lines"
    main("inverse_mri", title, of_each(make, PHANTOMS), methods, SETTINGS, list(PHANTOMS))
