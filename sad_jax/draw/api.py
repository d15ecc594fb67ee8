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
from sad_jax.draw.xla import site_table
from sad_jax.lists.candidates import Candidates, check_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.lists.view import View, find_at_points, find_in_view
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

    Examples:
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

    Given a canvas, every point has its own exact list, the K sites of smallest score there, and the
    picture is a function of the plane. Given lists, a point takes that of the cell in which it lies
    (pixel (i, j) covers i +- 1/2, j +- 1/2); outside the canvas that of the nearest cell. Either
    way it is the pixel's colour at a pixel's centre, where cells are of one pixel. Any distance
    will do, infinity too; a NaN gives NaN.

    Args:
      sites: N sites with C channels.
      lists: the canvas, (H, W) in pixels or a ``Canvas``, or the lists of its cells.
      points: float[..., 2], (x, y) in pixels.

    Returns:
      float[..., C], differentiable in any mode in the sites and in the points.

    Raises:
      ValueError: points that are no pairs, sites or lists that do not fit together.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.query(sites, (6, 9), jax.numpy.asarray([[0.5, 3.0], [2.0, 2.0]])).shape
      (2, 3)
    """
    points = points if isinstance(points, jax.Array) else np.asarray(points)
    if points.ndim < 1 or points.shape[-1] != 2 or points.dtype.kind not in "fiu":
        raise ValueError(f"expected points [..., 2], real numbers, got {describe(points)}")
    canvas, known = _canvas_and_lists(sites, lists)
    return _query(canvas, sites, known, jax.device_put(points))


@partial(jax.jit, static_argnums=0)
@broadcasting
def _query(canvas: Canvas, sites: Sites, lists: Candidates | None, points: jax.Array) -> jax.Array:
    flat = points.reshape(-1, 2)
    nearer = _nearer(flat, FAR * canvas.size)
    ids = find_at_points(sites, canvas, nearer) if lists is None else lists.at(flat)
    blended = _blend_at(site_table(sites, canvas.size), ids.T, *nearer.T)
    return blended.T.reshape(*points.shape[:-1], -1)


def _blend_at(table: jax.Array, ids: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Colours [C, M] at points (x, y), each from its list [K, M]."""
    rows, colors = xla.split_table(formula.gather(table, ids))
    return xla.blend(formula.softmax_weights(rows, x, y), colors)


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
    """The same picture at another size: the canvas is stretched over the new pixels.

    Given a canvas, every new pixel has its own exact list, so that borders are smooth at any
    enlargement. Given lists, a new pixel takes that of the old cell in which it lies, and borders
    show the cells' stairs. A pixel of a smaller picture is the mean of as many points, on a regular
    grid, as it takes to skip none of the old pixels.

    Args:
      sites: N sites.
      lists: the canvas, (H, W) in pixels or a ``Canvas``, or the lists of its cells.
      new_shape: (H', W') in pixels.

    Returns:
      float[H', W', C]; at the canvas's own size the picture of ``render``, where cells are of one
      pixel.

    Raises:
      ValueError: sites or lists that do not fit together, or a size for which the memory is not
        enough (not asked within ``jit``).

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.resample(sites, (6, 9), (12, 18)).shape
      (12, 18, 3)
    """
    canvas, known = _canvas_and_lists(sites, lists)
    view = View.of(canvas, Canvas.of(new_shape).shape)
    if not isinstance(sites.position, jax.core.Tracer):
        cells = Canvas(view.band, k=canvas.k) if known is None else canvas
        check_room(cells, sites.channels, view.shape)
    backend = resolve(None, (sites, known), k=min(canvas.k, sites.num_sites))
    return _resample(backend, view, sites, known)


@partial(jax.jit, static_argnums=(0, 1))
@broadcasting
def _resample(backend: Backend, view: View, sites: Sites, lists: Candidates | None) -> jax.Array:
    band = jax.checkpoint(partial(draw_in_view, backend, view, sites, lists))
    firsts = view.band[0] * jnp.arange(view.bands, dtype=sites.color.dtype)
    picture = jax.lax.map(band, firsts)
    return picture.reshape(-1, *picture.shape[2:])[: view.shape[0]]


@broadcasting
def draw_in_view(
    backend: Backend, view: View, sites: Sites, lists: Candidates | None, first: jax.Array
) -> jax.Array:
    """The pixels of the band whose points begin with the row ``first``, float[h, W', C]."""
    table = site_table(sites, view.canvas.size)
    dtype = table.dtype
    x = view.x(jnp.arange(view.fine[1], dtype=dtype))

    def row(args):
        y, ids = args
        points = jnp.stack([x, jnp.full_like(x, y)], -1)
        here = ids if lists is None else lists.at(points)
        return _blend_at(table, here.T, *points.T)

    height, (down, across) = view.band[0], view.samples
    y = view.y(first + jnp.arange(height, dtype=dtype))
    ids = None if lists is not None else find_in_view(backend, view, sites, first)
    colors = jax.lax.map(row, (y, ids))  # [rows, C, columns]
    colors = colors.reshape(height // down, down, sites.channels, -1, across)
    return jnp.moveaxis(jnp.mean(colors, axis=(1, 4)), 1, -1)


def owners(sites: Sites, lists: Candidates | Canvas | tuple[int, int]) -> Int[Array, "H W"]:
    """The site of largest weight at every pixel: the soft partition made hard.

    Args:
      sites: N sites.
      lists: the lists of the cells, or the canvas, (H, W) in pixels or a ``Canvas``.

    Returns:
      int32[H, W], the sites' ids.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> int(sad.owners(sites, (6, 9)).max()) < 5
      True
    """
    lists = lists_for(sites, lists)
    return xla.owners(lists.grid, jax.lax.stop_gradient(sites), lists.ids)


def _canvas_and_lists(
    sites: Sites, lists: Candidates | Canvas | tuple[int, int]
) -> tuple[Canvas, Candidates | None]:
    """The canvas, and the lists if it is these that were given; all checked."""
    check_sites(sites)
    if not isinstance(lists, Candidates):
        return Canvas.of(lists), None
    check_lists(sites, lists)
    return lists.canvas, lists


def lists_for(sites: Sites, lists: Candidates | Canvas | tuple[int, int]) -> Candidates:
    """The given lists, or the exact ones of a canvas; ValueError unless all fits together."""
    check_sites(sites)
    if not isinstance(lists, Candidates):  # a canvas: its own check says what else it could be
        return find_candidates(sites, lists)
    check_lists(sites, lists)
    return lists
