"""Pictures for users: whole ones, single points, other sizes, owners."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from sad_jax.backend import Backend, resolve
from sad_jax.broadcasting import broadcasting
from sad_jax.draw import passes, xla
from sad_jax.lists.candidates import Candidates, check_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.model import score as formula
from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas
from sad_jax.model.room import check_room
from sad_jax.model.sites import Sites, check_sites

FAR = 1000  # times the longer side: no point is looked at from farther away


def render(
    sites: Sites,
    lists: Candidates | Canvas | tuple[int, int],
    *,
    implementation: str | Backend | None = None,
    deterministic: bool = True,
) -> Float[Array, "H W C"]:
    """Draws the picture: each pixel is the softmax blend of the sites in its cell's list.

    color(x) = sum_i w_i c_i with w = softmax(-tau_i (d_i(x) - r_i / S)) over the list (Iinbor et
    al., SIGGRAPH 2026; ``score.py``). Differentiable in the sites; the lists are held fixed.

    Args:
      sites: N sites with C channels.
      lists: the lists of the cells; or the canvas, (H, W) in pixels or a ``Canvas``, for which the
        exact lists are then found.
      implementation: "xla" (any derivative), "xla_vjp" (hand-written reverse pass), "cpu" (in C++),
        "pallas" (GPU); a named one runs or raises, None chooses by where the sites lie. See
        ``backend.py``.
      deterministic: gradients with the same bits every time also on a GPU ("pallas"); if not,
        atomic additions. A ``Backend`` has its own.

    Returns:
      float[H, W, C] in the sites' precision.

    Raises:
      ValueError: sites whose fields do not fit together, lists of another number of sites, an
        unknown implementation.
      NotImplementedError: the named implementation does not run here.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.render(sites, (6, 9)).shape
      (6, 9, 3)
      >>> jax.grad(lambda s: sad.render(s, (6, 9)).sum())(sites).color.shape
      (5, 3)
    """
    lists = lists_for(sites, lists)
    backend = resolve(implementation, (sites, lists), k=lists.k, deterministic=deterministic)
    return passes.draw(backend, sites, lists)


def query(
    sites: Sites,
    lists: Candidates | Canvas | tuple[int, int],
    points: Float[ArrayLike, "*M 2"],
) -> Float[Array, "*M C"]:
    """Colours at any points: random access, the same blend as ``render``.

    A point takes the list of the cell in which it lies (pixel (i, j) covers i +- 1/2, j +- 1/2);
    outside the canvas that of the nearest cell. At a pixel's centre it is the pixel's colour. Any
    distance will do, infinity too; a NaN gives NaN.

    Args:
      sites: N sites with C channels.
      lists: the lists of the cells, or the canvas, (H, W) in pixels or a ``Canvas``.
      points: float[..., 2], (x, y) in pixels.

    Returns:
      float[..., C], differentiable in any mode in the sites and in the points.

    Raises:
      ValueError: points that are no pairs, sites or lists that do not fit together.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.query(sites, (6, 9), jax.numpy.asarray([[0.5, 3.0], [2.0, 2.0]])).shape
      (2, 3)
    """
    points = points if isinstance(points, jax.Array) else np.asarray(points)
    if points.ndim < 1 or points.shape[-1] != 2 or points.dtype.kind not in "fiu":
        raise ValueError(f"expected points [..., 2], real numbers, got {describe(points)}")
    return _query(sites, lists_for(sites, lists), jax.device_put(points))


@jax.jit
@broadcasting
def _query(sites: Sites, lists: Candidates, points: jax.Array) -> jax.Array:
    flat = points.reshape(-1, 2)
    ids = lists.at(flat).T
    flat = _nearer(flat, FAR * lists.canvas.size)
    table = xla.site_table(sites, lists.grid.size)
    rows, colors = xla.split_table(formula.gather(table, ids))
    blended = xla.blend(formula.softmax_weights(rows, *flat.T), colors)
    return blended.T.reshape(*points.shape[:-1], -1)


def _nearer(points: jax.Array, far: float) -> jax.Array:
    """Points moved towards the origin to within ``far`` pixels, where float32 still tells sites
    apart; the blend hardly changes beyond."""
    if not jnp.issubdtype(points.dtype, jnp.floating):
        points = points.astype(jnp.float32)
    most = jnp.finfo(points.dtype).max
    points = jnp.clip(points, -most, most)
    return points * (far / jnp.maximum(jnp.max(abs(points), -1, keepdims=True), far))


def resample(
    sites: Sites, lists: Candidates | Canvas | tuple[int, int], new_shape: tuple[int, int]
) -> Float[Array, "H2 W2 C"]:
    """The same picture at another size: the cells scale along, every new pixel is one query.

    Args:
      sites: N sites.
      lists: the lists of the cells, or the canvas, (H, W) in pixels or a ``Canvas``.
      new_shape: (H', W') in pixels; the canvas is stretched over it.

    Returns:
      float[H', W', C].

    Raises:
      ValueError: sites or lists that do not fit together, or a size for which the memory is not
        enough (not asked within ``jit``).

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.resample(sites, (6, 9), (12, 18)).shape
      (12, 18, 3)
    """
    lists, shape = lists_for(sites, lists), Canvas.of(new_shape).shape
    if not isinstance(sites.position, jax.core.Tracer):
        check_room(lists.canvas, sites.channels, shape)
    return _resample(sites, lists, shape)


@partial(jax.jit, static_argnums=2)
@broadcasting
def _resample(sites: Sites, lists: Candidates, shape: tuple[int, int]) -> jax.Array:
    canvas, (height, width) = lists.canvas, shape
    places = partial(jnp.arange, dtype=sites.position.dtype)
    x = (places(width) + 0.5) * (canvas.width / width) - 0.5
    row = lambda y: _query(sites, lists, jnp.stack([x, jnp.full_like(x, y)], -1))  # noqa: E731
    return jax.lax.map(row, (places(height) + 0.5) * (canvas.height / height) - 0.5)


def owners(sites: Sites, lists: Candidates | Canvas | tuple[int, int]) -> Int[Array, "H W"]:
    """The site of largest weight at every pixel: the soft partition made hard.

    Args:
      sites: N sites.
      lists: the lists of the cells, or the canvas, (H, W) in pixels or a ``Canvas``.

    Returns:
      int32[H, W], the sites' ids.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> int(sad.owners(sites, (6, 9)).max()) < 5
      True
    """
    lists = lists_for(sites, lists)
    return xla.owners(lists.grid, jax.lax.stop_gradient(sites), lists.ids)


def lists_for(sites: Sites, lists: Candidates | Canvas | tuple[int, int]) -> Candidates:
    """The given lists, or the exact ones of a canvas; ValueError unless all fits together."""
    check_sites(sites)
    if not isinstance(lists, Candidates):  # a canvas: its own check says what else it could be
        return find_candidates(sites, lists)
    check_lists(sites, lists)
    return lists
