"""Gauss-Newton in the plane of the preconditioned gradient and the last step, for optax.

A site has six geometric parameters g = (x, y, log_tau, radius, theta, a) and C colours: a *tangent*
is float[6 + C, N]. For a weighted squared error 1/2 sum v |e|^2 with Jacobian J and gradient
m = J'V e, the damped Gauss-Newton matrix is

    A = J'VJ + damping D,        D = diag J'VJ.

A is never formed. With B its block diagonal, one (6 + C) x (6 + C) block a site, a step is

    p = -B^-1 m,    step = alpha p + beta d,    d = the last step,

where alpha and beta minimise the quadratic model m's + 1/2 s'A s in the plane of p and d. On a
fixed quadratic that is preconditioned conjugate gradients (locally optimal, Knyazev 2001); here
every step sees the picture, its curvature and its lists anew, and there are no inner iterations.
It costs two passes over the pixels: m (``losses.gradient_sums``), and the change of the picture
by p (``losses.change_of_picture``), whose products are those of J'VJ. What d did to the picture is
the same combination of the last step's two changes. B is kept for the few steps between two
searches of the lists (``losses.gradient_and_curvature``): it only preconditions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sad_jax import score as formula
from sad_jax.cells import Grid
from sad_jax.losses import Curvature
from sad_jax.sites import Sites

GEOMETRY = formula.PHI  # parameters
FLOOR = 1e-6  # added to every diagonal, for sites that no pixel sees
STEP_CAP = (1.0, 1.0, 0.5, 0.5, 0.3, 0.3)  # px, px, log_tau, px, radians, log_aniso
COLOR_CAP = 0.15
PIVOT = 1e-3
PARALLEL = 1e-3  # share of the last step that must be new beside the fresh one
TINY = 1e-30
SHARPEST = 20.0  # largest tau / S: a border narrower than a twentieth of a pixel has no gradient


class Blocks(NamedTuple):
    """The block diagonal of J'VJ in tangents: a site's rows and columns, site last."""

    geometry: jax.Array  # [6, 6, N]
    mixed: jax.Array  # [6, C, N]
    color: jax.Array  # [N], times the identity

    @property
    def diagonal(self) -> jax.Array:
        """float[6 + C, N]."""
        geometry = jnp.stack([self.geometry[i, i] for i in range(GEOMETRY)])
        channels = self.mixed.shape[1]
        return jnp.concatenate(
            [geometry, jnp.broadcast_to(self.color, (channels, len(self.color)))]
        )


def make_blocks(sites: Sites, size: int, curvature: Curvature) -> Blocks:
    """Maps blocks from (phi, colour) to tangents.

    Written as sums over small axes: XLA's batched products are 20 times slower at it on a CPU.
    """
    chain = formula.chain(formula.site_rows(sites, size), size)
    half = jnp.sum(chain[:, :, None] * curvature.geometry, axis=1)
    return Blocks(
        geometry=jnp.sum(half[:, None] * chain, axis=2),
        mixed=jnp.sum(chain[:, :, None] * curvature.mixed, axis=1),
        color=curvature.color,
    )


def from_tangent(sites: Sites, size: int, tangent: jax.Array) -> jax.Array:
    """Maps a step from a tangent to (phi, colour): to_tangent transposed."""
    chain = formula.chain(formula.site_rows(sites, size), size)
    phi = jnp.sum(chain * tangent[:GEOMETRY, None], axis=0)
    return jnp.concatenate([phi, tangent[GEOMETRY:]])


def as_updates(sites: Sites, tangent: jax.Array) -> Sites:
    """A tangent as something to add to the sites; an angle turns the unit direction."""
    x, y = sites.direction.T
    return Sites(
        position=tangent[:2].T,
        log_tau=tangent[2],
        radius=tangent[3],
        direction=(jnp.stack([-y, x]) * tangent[4]).T,
        log_aniso=tangent[5],
        color=tangent[GEOMETRY:].T,
    )


class Momentum(NamedTuple):
    """The last step [N, 6 + C], zero for a site that has just changed, and what it did.

    ``change``: the linear change of the picture by it, times the root of the weights,
    [blocks, cell * cell, C, lanes].
    """

    step: jax.Array
    change: jax.Array


def scale_by_gauss_newton(grid: Grid) -> optax.GradientTransformationExtraArgs:
    """Turns a tangent gradient J'Ve into a damped Gauss-Newton step, capped by a trust region.

    The state is a ``Momentum``. ``update`` takes as extra arguments ``blocks``, ``push`` (a tangent
    [6 + C, N] -> the change of the picture by it, times the root of the weights) and ``damping``.
    """

    def init(sites: Sites) -> Momentum:
        picture = grid.blocks, grid.cell**2, sites.channels, grid.block
        return Momentum(no_step(sites), jnp.zeros(picture, sites.color.dtype))

    def update(gradient, last, params=None, *, blocks: Blocks, push, damping, **unused):
        diagonal = damping * blocks.diagonal + FLOOR
        fresh = capped(-solve_blocks(blocks, diagonal, gradient))
        plane = jnp.stack([fresh, last.step.T])
        changes = jnp.stack([push(fresh), last.change])
        matrix = _gram(changes) + _gram(jnp.sqrt(diagonal) * plane)
        first, second = minimize_in_plane(matrix, _product("apn,pn->a", plane, gradient))
        step = capped(first * plane[0] + second * plane[1])
        return step, Momentum(step.T, first * changes[0] + second * changes[1])

    return optax.GradientTransformationExtraArgs(init, update)


def no_step(sites: Sites) -> jax.Array:
    """The last step before there is one: zeros [N, 6 + C]."""
    return jnp.zeros((sites.num_sites, GEOMETRY + sites.channels), sites.color.dtype)


def _gram(vectors: jax.Array) -> jax.Array:
    """The products of M vectors [M, ...] with each other, float[M, M]."""
    return jnp.stack([jnp.stack([jnp.vdot(a, b) for b in vectors]) for a in vectors])


def capped(tangent: jax.Array) -> jax.Array:
    """A tangent within the trust region."""
    cap = jnp.asarray([*STEP_CAP, *[COLOR_CAP] * (len(tangent) - GEOMETRY)])[:, None]
    return jnp.clip(tangent, -cap, cap)


def minimize_in_plane(matrix: jax.Array, slope: jax.Array) -> jax.Array:
    """The minimum of slope'x + 1/2 x' matrix x over x in R^2, for a matrix that may be singular.

    Where the second vector adds nothing to the first (or is zero), its part is zero.
    """
    (aa, ab), (_, bb) = matrix
    aa = jnp.maximum(aa, TINY)
    rest = bb - ab * ab / aa  # what is left of b in the metric of the matrix, without a's part
    part = slope[1] - ab / aa * slope[0]
    second = jnp.where(rest > PARALLEL * bb, -part / jnp.maximum(rest, TINY), 0)
    return jnp.stack([-(slope[0] + ab * second) / aa, second])


def conjugate_gradients(
    matrix: Callable[[jax.Array], jax.Array],
    preconditioner: Callable[[jax.Array], jax.Array],
    right: jax.Array,
    iterations: int,
    inner: Callable[[jax.Array, jax.Array], jax.Array] = jnp.vdot,
) -> jax.Array:
    """Preconditioned conjugate gradients from zero, a fixed number of iterations.

    ``inner`` is the inner product; one that keeps an axis solves a system for each of its entries.
    """

    def step(_, state):
        x, residual, search, squared = state
        image = matrix(search)
        length = squared / jnp.maximum(inner(search, image), 1e-30)
        x, residual = x + length * search, residual - length * image
        scaled = preconditioner(residual)
        new = inner(residual, scaled)
        return x, residual, scaled + new / jnp.maximum(squared, 1e-30) * search, new

    scaled = preconditioner(right)
    state = jnp.zeros_like(right), right, scaled, inner(right, scaled)
    return jax.lax.fori_loop(0, iterations, step, state)[0]


def solve_blocks(blocks: Blocks, added: jax.Array, right: jax.Array) -> jax.Array:
    """(blocks + diag added)^-1 right, by eliminating the colours; all [6 + C, N]."""
    scale = jax.lax.rsqrt(blocks.diagonal[:GEOMETRY] + added[:GEOMETRY])  # to a unit diagonal
    color_diagonal = blocks.color + added[GEOMETRY:]
    mixed = blocks.mixed * scale[:, None]
    eliminated = mixed / color_diagonal
    matrix = blocks.geometry * scale * scale[:, None] - _product("gcn,hcn->ghn", eliminated, mixed)
    reduced = right[:GEOMETRY] * scale - jnp.sum(eliminated * right[GEOMETRY:], 1)
    geometry = scale * cholesky_solve(matrix, added[:GEOMETRY] * scale * scale, reduced)
    color = right[GEOMETRY:] - jnp.sum(blocks.mixed * geometry[:, None], 0)
    return jnp.concatenate([geometry, color / color_diagonal])


def cholesky_solve(matrix: jax.Array, added: jax.Array, right: jax.Array) -> jax.Array:
    """N small positive systems at once, unrolled: (matrix [n, n, N] + diag added [n, N]) x = right.

    The systems are scaled to a diagonal of about one; a pivot that rounding has pushed below
    ``PIVOT`` is put back there.
    """
    size = len(right)
    lower: list[list[jax.Array]] = []
    for i in range(size):
        row: list[jax.Array] = []
        for j in range(i):
            row.append((matrix[i, j] - _dot(row, lower[j][:j])) / lower[j][j])
        pivot = matrix[i, i] + added[i] - _dot(row, row)
        lower.append([*row, jnp.sqrt(jnp.maximum(pivot, PIVOT))])
    half: list[jax.Array] = []
    for i in range(size):
        half.append((right[i] - _dot(half, lower[i][:i])) / lower[i][i])
    solution: list[jax.Array] = []  # from the last entry back
    for i in reversed(range(size)):
        below = [lower[k][i] for k in reversed(range(i + 1, size))]
        solution.append((half[i] - _dot(solution, below)) / lower[i][i])
    return jnp.stack(solution[::-1])


def _dot(a: list[jax.Array], b: list[jax.Array]) -> jax.Array | float:
    return sum((x * y for x, y in zip(a, b, strict=True)), start=0.0)


def _product(subscripts: str, *arrays: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, *arrays, precision="highest")
