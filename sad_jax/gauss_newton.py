"""Local Gauss-Newton: each site's own block of the curvature, as an optax transformation.

A site has six geometric parameters g = (x, y, log_tau, radius, theta, a) and C colours. For a
squared error its block of J'J costs one pass over the pixels (``losses.gradient_and_curvature``)
and the step is

    Delta_i = -eta (H_i + lambda diag H_i)^-1 m_i,    capped a parameter by a trust region,

with short exponential averages m_i and H_i of the gradient and of the block.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax import score as formula
from sad_jax.losses import Curvature
from sad_jax.sites import Sites

PHI = formula.PHI


class Local(NamedTuple):
    """Gradient and blocks in the sites' own parameters g and colours, site last."""

    geometry: jax.Array  # [6, N]
    color: jax.Array  # [C, N]
    block: jax.Array  # [6, 6, N]
    mixed: jax.Array  # [6, C, N]
    color_block: jax.Array  # [N]


def to_parameters(sites: Sites, size: int, sums: jax.Array, curvature: Curvature) -> Local:
    """Maps a gradient [6 + C, N] and curvature from (phi, colour) to (g, colour)."""
    chain = formula.chain(formula.site_rows(sites, size), size)
    product = lambda *args: jnp.einsum(*args, precision="highest")  # noqa: E731
    return Local(
        geometry=product("gpn,pn->gn", chain, sums[:PHI]),
        color=sums[PHI:],
        block=product("gpn,pqn,hqn->ghn", chain, curvature.geometry, chain),
        mixed=product("gpn,pcn->gcn", chain, curvature.mixed),
        color_block=curvature.color,
    )


def solve(local: Local, damping: jax.Array, floor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(H + damping diag H + floor)^-1 times the gradient, by eliminating the colours.

    Returns:
      [6, N] and [C, N].
    """
    color_diagonal = local.color_block * (1 + damping) + floor
    eliminated = local.mixed / color_diagonal
    matrix = local.block - jnp.sum(eliminated[:, None] * local.mixed[None], 2)
    diagonal = jnp.stack([local.block[i, i] for i in range(PHI)])
    right = local.geometry - jnp.sum(eliminated * local.color, 1)
    geometry = cholesky_solve(matrix, damping * diagonal + floor, right)
    color = (local.color - jnp.sum(local.mixed * geometry[:, None], 0)) / color_diagonal
    return geometry, color


def cholesky_solve(matrix: jax.Array, added: jax.Array, right: jax.Array) -> jax.Array:
    """Solves N small systems at once, unrolled: [n, n, N] plus a diagonal [n, N], right [n, N]."""
    size = right.shape[0]
    lower: list[list[jax.Array]] = []
    for i in range(size):
        row: list[jax.Array] = []
        for j in range(i + 1):
            total = matrix[i, j] - sum(
                (row[k] * lower[j][k] if j < i else row[k] * row[k] for k in range(j)), start=0.0
            )
            if i == j:
                pivot = total + added[i]
                row.append(jnp.sqrt(jnp.maximum(pivot, 1e-3 * added[i])))
            else:
                row.append(total / lower[j][j])
        lower.append(row)
    forward: list[jax.Array] = []
    for i in range(size):
        total = right[i] - sum((lower[i][k] * forward[k] for k in range(i)), start=0.0)
        forward.append(total / lower[i][i])
    solution: list[jax.Array] = [jnp.zeros_like(right[0])] * size
    for i in reversed(range(size)):
        total = forward[i] - sum((lower[k][i] * solution[k] for k in range(i + 1, size)), start=0.0)
        solution[i] = total / lower[i][i]
    return jnp.stack(solution)
