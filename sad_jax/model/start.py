"""Photo -> Sites: where a fit starts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from sad_jax.model.sites import Sites

PLASTIC = 1.32471795724474602596  # its powers give the R2 low-discrepancy sequence
EDGE = 0.01  # Sobel magnitude above which a starting place is accepted
TRIES = 256  # places tried a site, at most
RADIUS = 4.0  # pixels
LUMA = (0.299, 0.587, 0.114)


def sobel(image: Float[Array, "H W C"]) -> Float[Array, "H W"]:
    """Sobel magnitude over 4 of the luma of float[H, W, C] (of the mean unless C is 3 or 4)."""
    if image.shape[-1] in (3, 4):
        luma = image[..., :3] @ jnp.asarray(LUMA, image.dtype)
    else:
        luma = jnp.mean(image, -1)
    height, width = luma.shape
    padded = jnp.pad(luma, 1, mode="edge")
    part = lambda y, x: padded[y : y + height, x : x + width]  # noqa: E731
    dx = sum(w * (part(i, 2) - part(i, 0)) for i, w in enumerate((1, 2, 1)))
    dy = sum(w * (part(2, i) - part(0, i)) for i, w in enumerate((1, 2, 1)))
    return jnp.hypot(dx, dy) / 4


def init_sites(image: Float[ArrayLike, "H W C"], num_sites: int, *, key: Key[Array, ""]) -> Sites:
    """The published start: sites where the picture has edges, with the colours under them.

    Positions follow the R2 low-discrepancy sequence, shifted at random; a place is taken where the
    Sobel magnitude g exceeds 0.01, and after 256 places a site any place is. Every site starts with
    log_tau = 5 + 2 g^0.25, radius 4 px, direction (1, 0) and log_aniso 0.

    Args:
      image: float[H, W, C].
      num_sites: N, at least 1.
      key: a JAX random key.

    Returns:
      N sites.

    Raises:
      ValueError: an image that is not [H, W, C], or no sites.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sites.position.shape, float(sites.radius[0])
      ((5, 2), 4.0)
    """
    image = jnp.asarray(image, jnp.float32)
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"expected an image [H, W, C], got shape {image.shape}")
    if num_sites < 1:
        raise ValueError(f"expected at least one site, got {num_sites}")
    height, width, _ = image.shape
    edges = sobel(image)
    corner = jnp.asarray([width - 1, height - 1], jnp.float32)
    position = jnp.asarray(_positions(np.asarray(edges), num_sites, key)) * corner
    column, row = jnp.round(position).astype(jnp.int32).T
    return Sites(
        position=position,
        log_tau=5 + 2 * edges[row, column] ** 0.25,
        radius=jnp.full(num_sites, RADIUS, jnp.float32),  # a weak type would compile steps twice
        color=image[row, column],
        direction=jnp.tile(jnp.asarray([[1.0, 0.0]]), (num_sites, 1)),
        log_aniso=jnp.zeros(num_sites),
    )


def _positions(edges: np.ndarray, num_sites: int, key: jax.Array) -> np.ndarray:
    """float32[N, 2] in [0, 1]: the first accepted points of the sequence, then the first others."""
    shift = np.asarray(jax.random.uniform(key, (2,)), np.float64)
    corner = np.asarray(edges.shape[::-1]) - 1
    accepted = np.zeros((0, 2))
    rejected = np.zeros((0, 2))
    start = 0
    while len(accepted) < num_sites and start < TRIES * num_sites:
        index = np.arange(start, start + 4 * num_sites)[:, None]
        points = (shift + index * np.asarray([1 / PLASTIC, 1 / PLASTIC**2])) % 1
        column, row = np.round(points * corner).astype(int).T
        edge = edges[row, column] > EDGE
        accepted = np.concatenate([accepted, points[edge]])
        rejected = np.concatenate([rejected, points[~edge]])[:num_sites]
        start += 4 * num_sites
    return np.concatenate([accepted, rejected])[:num_sites].astype(np.float32)
