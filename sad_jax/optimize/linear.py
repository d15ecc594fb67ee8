"""Small linear algebra: conjugate gradients, a plane, many small positive systems at once."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

PIVOT = 1e-3  # least pivot of a system that is scaled to a diagonal of one
PARALLEL = 1e-3  # least share of the second vector of a plane that must be new beside the first
TINY = 1e-30
PARTS = 64  # of a sum; LANES_STEP of the canvas is a multiple of them


def inner(a: jax.Array, b: jax.Array) -> jax.Array:
    """The inner product of two arrays of one shape, whose last axis is a long one.

    In two stages: in one, XLA on a CPU adds number by number, which takes several times as long,
    and of many numbers the sum loses digits in float32.
    """
    products = a * b
    if a.shape[-1] % PARTS == 0:
        products = products.reshape(*a.shape[:-1], -1, PARTS)
    parts = jnp.sum(products, axis=range(products.ndim - 1))
    return jnp.sum(jax.lax.optimization_barrier(parts))  # or XLA makes one stage of the two


def conjugate_gradients(
    matrix: Callable[[jax.Array], jax.Array],
    preconditioner: Callable[[jax.Array], jax.Array],
    right: jax.Array,
    iterations: int,
    inner: Callable[[jax.Array, jax.Array], jax.Array] = inner,
) -> jax.Array:
    """Preconditioned conjugate gradients from zero, a fixed number of iterations.

    ``inner`` is the inner product; one that keeps an axis solves a system for each of its entries.
    A matrix need not be positive: at the first direction along which it is not, they stop where
    they are (Steihaug 1983).
    """

    def step(_, state):
        x, residual, search, squared, positive = state
        image = matrix(search)
        along = inner(search, image)
        positive = positive & (along >= 0)
        length = jnp.where(positive, squared / jnp.maximum(along, TINY), 0)
        x, residual = x + length * search, residual - length * image
        scaled = preconditioner(residual)
        new = inner(residual, scaled)
        return x, residual, scaled + new / jnp.maximum(squared, TINY) * search, new, positive

    scaled = preconditioner(right)
    squared = inner(right, scaled)
    state = right * 0, right, scaled, squared, squared >= 0
    return jax.lax.fori_loop(0, iterations, step, state)[0]


Pair = tuple[jax.Array, jax.Array] | jax.Array


def minimize_in_plane(matrix: tuple[Pair, Pair] | jax.Array, slope: Pair) -> Pair:
    """The minimum of slope'x + 1/2 x' matrix x over x in R^2, for a matrix that may be singular.

    Where the second vector adds nothing to the first (or is zero), its part is zero.
    """
    (aa, ab), (_, bb) = matrix
    aa = jnp.maximum(aa, TINY)
    rest = bb - ab * ab / aa  # what is left of b in the metric of the matrix, without a's part
    part = slope[1] - ab / aa * slope[0]
    second = jnp.where(rest > PARALLEL * bb, -part / jnp.maximum(rest, TINY), 0)
    return -(slope[0] + ab * second) / aa, second


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
