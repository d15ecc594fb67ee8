"""Photo -> Sites: where a fit starts."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, Shaped

from sad_jax.model.arguments import check_key, whole
from sad_jax.model.picture import as_floats
from sad_jax.model.sites import Sites

PLASTIC = 1.32471795724474602596  # its powers give the R2 low-discrepancy sequence
EDGE = 0.01  # Sobel magnitude above which a starting place is accepted
TRIES = 256  # places tried a site, at most
RADIUS = 4.0  # pixels
LUMA = (0.299, 0.587, 0.114)


def sobel(image: Float[Array, "H W C"]) -> Float[Array, "H W"]:
    """Sobel magnitude over 4 of the luma of float[H, W, C] (of the mean unless C is 3 or 4)."""
    return _slope(_luma(image))


@jax.jit
def _luma(image: jax.Array) -> jax.Array:
    if image.shape[-1] in (3, 4):
        return image[..., :3] @ jnp.asarray(LUMA, image.dtype)
    return jnp.mean(image, -1)


@jax.jit
def _slope(luma: jax.Array) -> jax.Array:
    height, width = luma.shape
    padded = jnp.pad(luma, 1, mode="edge")
    part = lambda y, x: padded[y : y + height, x : x + width]  # noqa: E731
    dx = sum(w * (part(i, 2) - part(i, 0)) for i, w in enumerate((1, 2, 1)))
    dy = sum(w * (part(2, i) - part(0, i)) for i, w in enumerate((1, 2, 1)))
    return jnp.hypot(dx, dy) / 4


def init_sites(image: Shaped[ArrayLike, "H W *C"], num_sites: int, *, key: Key[Array, ""]) -> Sites:
    """The published start: sites where the picture has edges, with the colours under them.

    Positions follow the R2 low-discrepancy sequence, shifted at random; a place is taken where the
    Sobel magnitude g exceeds 0.01, and after 256 places a site any place is. Every site starts with
    log_tau = 5 + 2 g^0.25, radius 4 px, direction (1, 0) and log_aniso 0.

    Places are chosen on the host, within ``jit`` and ``vmap`` by a callback, so the same picture
    and key give the same sites everywhere. Only the colours have a derivative in the picture.

    Args:
      image: [H, W] or [H, W, C]; float of any range, or bool or unsigned, whose largest value
        becomes 1.
      num_sites: N, at least 1.
      key: a JAX random key.

    Returns:
      N sites, in float64 if the picture is, else in float32.

    Raises:
      ValueError: an image of other axes or type, NaN or infinite values, or no sites.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sites.position.shape, float(sites.radius[0])
      ((5, 2), 4.0)
    """
    num_sites = whole(num_sites, "num_sites", least=1)
    picture: jax.Array = jax.device_put(as_floats(image))
    edges, shift = sobel(jax.lax.stop_gradient(picture)), _shift(check_key(key))
    if any(isinstance(array, jax.core.Tracer) for array in (edges, shift)):
        corner = (picture.shape[1] - 1, picture.shape[0] - 1)
        shape = jax.ShapeDtypeStruct((num_sites, 2), jnp.float32)
        points = jax.pure_callback(
            partial(_points, num_sites), shape, edges, shift, vmap_method="sequential"
        )
        return _sites_at(points, picture, edges, corner)
    return start_on(picture, edges, jax.device_get(edges), num_sites, key)


def start_on(
    picture: jax.Array, edges: jax.Array, known: np.ndarray, num_sites: int, key: jax.Array
) -> Sites:
    """``init_sites`` of a picture and its ``sobel`` magnitude.

    Args:
      picture: float[rows, W, C], perhaps over devices, with more rows than the picture has.
      edges: float[rows, W].
      known: float[H, W], those of the picture's own rows, on the host.
      num_sites: N.
      key: a JAX random key.
    """
    height, width = known.shape
    points = jax.device_put(_points(num_sites, known, jax.device_get(_shift(key))))
    corner = (width - 1, height - 1)
    return _sites_at(points, picture, edges, corner)


@jax.jit
def _shift(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (2,), jnp.float32)


@partial(jax.jit, static_argnums=3)
def _sites_at(
    points: jax.Array, image: jax.Array, edges: jax.Array, corner: tuple[int, int]
) -> Sites:
    """Sites at points float32[N, 2], of which (1, 1) is the pixel ``corner``, the last one."""
    n, dtype = len(points), image.dtype
    position = points.astype(dtype) * jnp.asarray([corner], dtype)
    column, row = jnp.round(position).astype(jnp.int32).T
    return Sites(
        position=position,
        log_tau=5 + 2 * edges[row, column] ** 0.25,
        radius=jnp.full(n, RADIUS, dtype),
        color=image[row, column],
        direction=jnp.tile(jnp.asarray([[1, 0]], dtype), (n, 1)),
        log_aniso=jnp.zeros(n, dtype),
    )


def _points(num_sites: int, edges: ArrayLike, shift: ArrayLike) -> np.ndarray:
    """float32[N, 2] in [0, 1]: the first accepted points of the sequence, then the first others."""
    edges, shift = np.asarray(edges), np.asarray(shift, np.float64)
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
