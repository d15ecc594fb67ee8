"""Tangents: the coordinates in which a site is optimised, and the maps into and out of them.

Sums over pixels are taken in (phi, colour), see ``score.py``. An optimiser wants a site's own six
geometric parameters g = (x, y, log_tau, radius, theta, a), with the angle theta in place of the
direction, and its C colours. A vector of these, for all sites, is a *tangent*: float[6 + C, N].
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from sad_jax.broadcasting import broadcasting
from sad_jax.model.score import PHI, Rows, site_rows
from sad_jax.model.sites import Sites

GEOMETRY = PHI  # parameters
X, Y, TAU, RADIUS, ANGLE, ANISO = range(GEOMETRY)  # their order


@dataclasses.dataclass(frozen=True)
class TrustRegion:
    """How far a step may change a site: position and radius in pixels, theta in radians."""

    position: float = 1.0
    log_tau: float = 0.5
    radius: float = 0.5
    theta: float = 0.3
    log_aniso: float = 0.3
    color: float = 0.15

    def capped(self, tangent: jax.Array) -> jax.Array:
        """A tangent within the region."""
        geometry = (self.log_tau, self.radius, self.theta, self.log_aniso)
        colors = [self.color] * (len(tangent) - GEOMETRY)
        caps = [self.position, self.position, *geometry, *colors]
        cap = jnp.asarray(caps, tangent.dtype)[:, None]
        return jnp.clip(tangent, -cap, cap)


TRUST_REGION = TrustRegion()


def chain(rows: Rows, size: int) -> dict[tuple[int, int], jax.Array]:
    """d logit/d g = chain phi: the map from phi to (x, y, log_tau, radius, theta, a).

    Args:
      rows: N sites.
      size: S in pixels.

    Returns:
      What is not zero of the 6 x 6 matrix of each site: by parameter and entry of phi, float[N].
    """
    tau, h = rows.tau, rows.h
    return {
        (0, 0): tau * rows.fx,
        (0, 1): -tau * h * rows.fy,
        (1, 0): tau * rows.fy,
        (1, 1): tau * h * rows.fx,
        (2, 4): -tau,
        (2, 5): tau * rows.radius,
        (3, 5): tau / size,
        (4, 2): -tau * (1 / h - h),
        (5, 3): -0.5 * tau,
    }


def to_tangent(sites: Sites, size: int, sums: jax.Array) -> jax.Array:
    """Maps a gradient [6 + C, N] from (phi, colour) to a tangent."""
    geometry = [jnp.zeros_like(sums[0])] * GEOMETRY
    for (parameter, entry), factor in chain(site_rows(sites, size), size).items():
        geometry[parameter] += factor * sums[entry]
    return jnp.concatenate([jnp.stack(geometry), sums[PHI:]])


def from_tangent(sites: Sites, size: int, tangent: jax.Array) -> jax.Array:
    """Maps a step from a tangent to (phi, colour): the transpose of ``to_tangent``."""
    phi = [jnp.zeros_like(tangent[0])] * PHI
    for (parameter, entry), factor in chain(site_rows(sites, size), size).items():
        phi[entry] += factor * tangent[parameter]
    return jnp.concatenate([jnp.stack(phi), tangent[GEOMETRY:]])


def chain_matrix(sites: Sites, size: int) -> jax.Array:
    """``chain`` of all sites with its zeros, float[6, 6, N]."""
    known = chain(site_rows(sites, size), size)
    zero = jnp.zeros_like(sites.radius)
    every = [known.get((i, j), zero) for i in range(GEOMETRY) for j in range(PHI)]
    return jnp.stack(every).reshape(GEOMETRY, PHI, -1)


@broadcasting
def as_updates(sites: Sites, tangent: jax.Array) -> Sites:
    """A step in tangents as something to add to the sites; an angle turns the unit direction."""
    x, y = sites.direction.T
    return _as_sites(tangent, (jnp.stack([-y, x]) * tangent[4]).T)


def only_free(moved: Sites, before: Sites, free: jax.Array) -> Sites:
    """``moved`` where ``free``, of a tangent's shape, is not zero; elsewhere ``before``."""
    rows = Sites(
        position=free[:TAU].T,
        log_tau=free[TAU],
        radius=free[RADIUS],
        direction=free[ANGLE][:, None],
        log_aniso=free[ANISO],
        color=free[GEOMETRY:].T,
    )
    return jax.tree.map(lambda row, new, old: jnp.where(row > 0, new, old), rows, moved, before)


def site_gradient(sites: Sites, size: int, sums: jax.Array) -> Sites:
    """Maps a gradient [6 + C, N] from (phi, colour) to one of the sites' shape."""
    tangent = to_tangent(sites, size, sums)
    return _as_sites(tangent, angle_to_direction(tangent[4], sites.direction))


def angle_to_direction(angle_gradient: jax.Array, direction: jax.Array) -> jax.Array:
    """Gradient float[N, 2] with respect to ``direction`` from that with respect to its angle."""
    x, y = direction[..., 0], direction[..., 1]
    squared = jnp.maximum(x * x + y * y, 1e-30)
    return jnp.stack([-y, x], -1) * (angle_gradient / squared)[..., None]


def _as_sites(tangent: jax.Array, direction: jax.Array) -> Sites:
    return Sites(
        position=tangent[:2].T,
        log_tau=tangent[2],
        radius=tangent[3],
        direction=direction,
        log_aniso=tangent[5],
        color=tangent[GEOMETRY:].T,
    )
