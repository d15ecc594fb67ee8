"""The one way through all numbers of a picture, which writes or reads them.

Both directions call the same functions in the same order with the same whole numbers, so they
cannot differ. A ``coder`` turns predictions into symbols: ``Reading`` and ``Writing`` here, and
``Study``, which only looks on and from which an encoder learns the picture's ``Model``.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from sad_jax.storage.compact.curve import from_curve
from sad_jax.storage.compact.fixed import OCTAVE, angle_of, cosine, logarithm, power, sine
from sad_jax.storage.compact.order import Batch, Order
from sad_jax.storage.compact.predict import find_neighbours
from sad_jax.storage.compact.rules import PIXEL, Rules, angle_of_level

MOST_OCTAVES = 64 * OCTAVE
MOST_RADIUS = 2**50
MOST_LIGHT = 2**24


@dataclasses.dataclass
class Fields:
    """What the numbers of all N sites mean, as far as they are read, in units (see ``rules``).

    ``place``: on the curve; ``x, y``: the cell; ``tau, aniso``: log2; ``position``: int64[N, 2];
    ``color``: int64[N, C], in planes; ``axis``: int64[N, 2], twice the angle as a vector.
    """

    place: np.ndarray
    x: np.ndarray
    y: np.ndarray
    tau: np.ndarray
    aniso: np.ndarray
    angle: np.ndarray
    position: np.ndarray
    radius: np.ndarray
    color: np.ndarray
    axis: np.ndarray

    @classmethod
    def empty(cls, num_sites: int, channels: int) -> Fields:
        def zeros(*shape):
            return np.zeros((num_sites, *shape), np.int64)

        return cls(
            place=zeros(),
            x=zeros(),
            y=zeros(),
            tau=zeros(),
            aniso=zeros(),
            angle=zeros(),
            position=zeros(2),
            radius=zeros(),
            color=zeros(channels),
            axis=zeros(2),
        )


class Coder(Protocol):
    """What turns predictions into symbols, or symbols into numbers; it gives the true numbers."""

    def curve(self, batch: Batch, low, counts, inner) -> np.ndarray: ...

    def residual(self, name: str, batch: Batch, features, spread, step) -> np.ndarray: ...

    def angle(self, batch: Batch, center, levels, sureness) -> np.ndarray: ...

    def even(self, name: str, batch: Batch, counts) -> np.ndarray: ...


def walk(
    coder: Coder, order: Order, rules: Rules, curve_bits: int, batches: list[Batch], fields: Fields
) -> None:
    """Reads or writes the sites of some batches, each after those above it, into ``fields``."""
    last = 4**curve_bits - 1
    for batch in batches:
        own, stride = batch.sites, 1 << batch.level
        after = own + stride
        inner = after < order.num_sites
        low = np.where(own == 0, 0, fields.place[np.maximum(own - stride, 0)])
        high = np.where(inner, fields.place[np.where(inner, after, 0)], last)
        fields.place[own] = low + coder.curve(batch, low, high - low + 1, inner)
        fields.x[own], fields.y[own] = from_curve(fields.place[own], curve_bits)
        near = find_neighbours(order, batch, fields.x, fields.y)
        one = np.full(len(own), OCTAVE, np.int64)

        def local(values, near=near):
            mean = near.mean(values)
            return mean, near.spread(values, mean)

        mean, spread = local(fields.tau)
        features = [one, mean, near.nearest]
        step = np.full(len(own), rules.tau_step)
        level = coder.residual("tau", batch, features, spread, step)
        limit = MOST_OCTAVES // step
        tau = fields.tau[own] = _within(level, -limit, limit) * step

        mean, spread = local(fields.aniso)
        step = np.full(len(own), rules.aniso_step)
        level = coder.residual("aniso", batch, [one, mean, tau], spread, step)
        aniso = fields.aniso[own] = _within(level, 0, MOST_OCTAVES // step) * step

        levels = rules.angles(tau, aniso)
        across, down = (near.mean(fields.axis[:, i]) for i in (0, 1))
        sureness = power(logarithm(np.maximum(across**2 + down**2, 1)) // 2)
        level = coder.angle(batch, angle_of(across, down) // 2, levels, sureness)
        angle = fields.angle[own] = angle_of_level(level, levels)
        fields.axis[own] = _axis(angle, aniso)

        levels_x, levels_y, _ = rules.places(tau, aniso, angle)
        in_x = coder.even("in_x", batch, levels_x)
        in_y = coder.even("in_y", batch, levels_y)
        fields.position[own, 0] = rules.position(fields.x[own], in_x, levels_x)
        fields.position[own, 1] = rules.position(fields.y[own], in_y, levels_y)

        step = rules.radius_step(tau)
        logs = logarithm(np.maximum(fields.radius - rules.least_radius + PIXEL, PIXEL))
        mean, _ = local(logs)
        features = [one, mean, tau, aniso, near.nearest, tau * tau >> 12]
        level = coder.residual("radius", batch, features, None, step)
        grown = _within(level, 0, MOST_RADIUS // step) * step
        fields.radius[own] = rules.least_radius + grown

        step = rules.color_step(fields.radius[own])
        means, spreads = zip(*(local(plane) for plane in fields.color.T), strict=True)
        known: list[np.ndarray] = []
        together = np.sum(spreads, axis=0)
        for i, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
            spread = together if i == 0 else spread + together // 4
            features = [mean, *known[-2:]]
            level = coder.residual(f"color{i}", batch, features, spread, step)
            limit = MOST_LIGHT // step
            fields.color[own, i] = _within(level, -limit, limit) * step
            known.append(fields.color[own, i] - mean)


def _within(values: np.ndarray, low, high) -> np.ndarray:
    """The values, checked: only a damaged file has others, and sums of them might overflow."""
    if ((values < low) | (values > high)).any():
        raise ValueError("expected values within their limits, got a damaged file")
    return values


def _axis(angle: np.ndarray, aniso: np.ndarray) -> np.ndarray:
    """(cos 2 angle, sin 2 angle) tanh a in units of 2^-16, a being the anisotropy."""
    wide = np.minimum(aniso, 8 * OCTAVE)
    long, short = power(wide, 20), power(-wide, 20)
    tanh = ((long - short) << 10) // (long + short)
    return np.stack([(f(2 * angle) >> 14) * tanh >> 10 for f in (cosine, sine)], axis=1)
