"""The formula of the diagram, written once: distance, score, blend and their derivatives.

Everything that draws, searches, fits or queries calls these functions. They are plain ``jnp`` on
arrays of any common shape, so the XLA path, the kernels' bodies and float64 tests share them.

With S = max(W, H), delta = x - p, unit axis u, its normal n = (-u_y, u_x), and the metric
M = e^a u u' + e^-a n n' (determinant one), a site scores (Iinbor et al., SIGGRAPH 2026)

    P = e^(a/2) u.delta / S        Q = e^(-a/2) n.delta / S
    d = sqrt(max(P^2 + Q^2, 1e-8))
    score = tau (d - r / S)        logit = -score        w = softmax over the list of the logits

A list holds the K smallest scores. Every derivative of a logit with respect to the six geometric
parameters g = (x, y, log_tau, radius, theta, a) is a linear map, constant over the pixels of a
site, of six numbers a pixel:

    phi = (P/d, Q/d, P Q/d, (P^2 - Q^2)/d, d, 1)        d logit/d g = chain(site) phi

so gradients and curvatures are summed over pixels in phi and mapped once a site; ``chain`` is in
``tangent.py``. Where the maximum is active d does not depend on the geometry, and the first four
entries are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax.model.sites import Sites, unit, within_limits

SQUARED_DISTANCE_MIN = 1e-8  # in units of S^2
PHI = 6  # entries of phi, as many as geometric parameters


class Rows(NamedTuple):
    """What a pixel needs of a site; every entry has the same shape (sites, or slots of lists).

    ``x, y``: position in pixels; ``fx, fy``: e^(a/2) u / S; ``h``: e^-a; ``tau``; and
    ``radius``: r / S.
    """

    x: jax.Array
    y: jax.Array
    fx: jax.Array
    fy: jax.Array
    h: jax.Array
    tau: jax.Array
    radius: jax.Array


Channels = jax.Array | Sequence[jax.Array]


class Pixel(NamedTuple):
    """One pixel of every cell of a block, and sites of its list, as ``slots`` callbacks see them.

    The XLA path gives all K sites at once, with arrays [K, lanes] for what belongs to a site and
    [lanes] for what belongs to the pixel; a kernel gives one site at a time, all arrays [lanes], or
    one site for all lanes, whose own entries are then scalars.
    The channels of colours are one array in the XLA path and a tuple in a kernel; callbacks only go
    over them and use ``dot``.

    ``rows``: the sites; ``colors``: their C channels; ``attached``: what the caller gave along;
    ``weights``: their softmax weights; ``phi``: their six numbers; ``x, y``: the pixel; ``color``:
    the blend, C channels; ``blended``: a second weighted sum, if the pass asks for one.
    """

    rows: Rows
    colors: Channels
    attached: tuple[jax.Array, ...]
    weights: jax.Array
    phi: tuple[jax.Array, ...]
    x: jax.Array
    y: jax.Array
    color: Channels
    blended: tuple[jax.Array, ...] = ()

    @property
    def contrast(self) -> Channels:
        """c_i - c: how the blend changes with the logit of a site, over its weight."""
        if isinstance(self.colors, jax.Array) and isinstance(self.color, jax.Array):
            return self.colors - self.color[:, None]
        return tuple(own - blend for own, blend in zip(self.colors, self.color, strict=True))


def site_rows(sites: Sites, size: int) -> Rows:
    """Rows of all sites, each float[N]; ``size`` is S, the longer side in pixels."""
    sites = within_limits(sites)
    axis = unit(sites.direction) * (jnp.exp(0.5 * sites.log_aniso) / size)[..., None]
    return Rows(
        x=sites.position[..., 0],
        y=sites.position[..., 1],
        fx=axis[..., 0],
        fy=axis[..., 1],
        h=jnp.exp(-sites.log_aniso),
        tau=jnp.exp(sites.log_tau),
        radius=sites.radius / size,
    )


def stretched(rows: Rows, scale_x: float, scale_y: float) -> Rows:
    """The rows on a canvas of ``scale`` times the pixels along each axis; every score stays.

    Pixels are squares around their centres, so the point x goes to (x + 1/2) scale - 1/2. With
    D = diag(scale) a metric M becomes D^-1 M D^-1, whose axes stand elsewhere unless both scales
    are one; they are the eigenvectors of a symmetric 2 x 2 matrix. Not for derivatives.
    """
    moved = rows._replace(
        x=rows.x * scale_x + 0.5 * (scale_x - 1), y=rows.y * scale_y + 0.5 * (scale_y - 1)
    )
    if scale_x == scale_y:
        return moved._replace(fx=rows.fx / scale_x, fy=rows.fy / scale_x)
    h2, xx, yy, xy = rows.h**2, rows.fx**2, rows.fy**2, rows.fx * rows.fy
    m_xx, m_yy = (xx + h2 * yy) / scale_x**2, (yy + h2 * xx) / scale_y**2
    m_xy = (xy - h2 * xy) / (scale_x * scale_y)
    half, root = (m_xx - m_yy) / 2, (xx + yy) * rows.h / (scale_x * scale_y)
    largest = (m_xx + m_yy) / 2 + jnp.hypot(half, m_xy)
    angle, length = 0.5 * jnp.arctan2(m_xy, half), jnp.sqrt(largest)
    return moved._replace(fx=length * jnp.cos(angle), fy=length * jnp.sin(angle), h=root / largest)


def gather(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Entries ``ids`` of every row of float[R, N] -> float[R, *ids.shape].

    A loop, so that XLA writes the result out; fused into its consumers, a gather would be done
    again by each of them.
    """
    return jax.lax.map(lambda row: row.at[ids].get(mode="promise_in_bounds"), table)


def take(rows: Rows, ids: jax.Array) -> Rows:
    """The rows of the sites ``ids``."""
    return Rows(*gather(jnp.stack(rows), ids))


def metric_offset(rows: Rows, dx: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The offset (dx, dy) in pixels in the site's own frame: (P, Q)."""
    return rows.fx * dx + rows.fy * dy, (rows.fx * dy - rows.fy * dx) * rows.h


def score(rows: Rows, x: jax.Array, y: jax.Array) -> jax.Array:
    """tau (d - r/S) of sites at pixels (x, y); the smallest ones make a list."""
    p, q = metric_offset(rows, x - rows.x, y - rows.y)
    distance = jnp.sqrt(jnp.maximum(p * p + q * q, SQUARED_DISTANCE_MIN))
    return rows.tau * (distance - rows.radius)


def softmax_weights(rows: Rows, x: jax.Array, y: jax.Array) -> jax.Array:
    """Weights of the K sites of a list along axis 0, for pixels (x, y) along the others."""
    scores = score(rows, x, y)
    weights = jnp.exp(jnp.min(scores, 0, keepdims=True) - scores)
    return weights / jnp.sum(weights, 0, keepdims=True)


def phi(rows: Rows, x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    """The six numbers that span the derivatives of a logit (see the module's head)."""
    p, q = metric_offset(rows, x - rows.x, y - rows.y)
    squared = p * p + q * q
    distance = jnp.sqrt(jnp.maximum(squared, SQUARED_DISTANCE_MIN))
    inverse = jnp.where(squared > SQUARED_DISTANCE_MIN, 1 / distance, 0)
    p_unit, q_unit = p * inverse, q * inverse
    return p_unit, q_unit, p_unit * q, p_unit * p - q_unit * q, distance, jnp.ones_like(distance)


def dot(a: Channels, b: Channels) -> jax.Array:
    """Sum over the entries of two vectors of arrays; the second may be one array, entries first.

    Then it is a reduction, which XLA computes once; a chain of additions it would compute again for
    every use.
    """
    if isinstance(b, jax.Array):
        first = a if isinstance(a, jax.Array) else jnp.stack(list(a))
        first = first.reshape(len(b), *[1] * (b.ndim - first.ndim), *first.shape[1:])
        return jnp.sum(first * b, axis=0)
    products = [x * y for x, y in zip(a, b, strict=True)]
    return sum(products[1:], start=products[0])


def pull_back(pixel: Pixel, cotangent: Channels) -> list[jax.Array]:
    """What a cotangent of the pixel's C channels gives a site: 6 + C numbers, in (phi, colour).

    dc/dphi = w (c_i - c) and dc/dc_i = w.
    """
    logit = pixel.weights * dot(cotangent, pixel.contrast)
    geometry = [logit * entry for entry in pixel.phi]
    return geometry + [pixel.weights * value for value in cotangent]
