"""Public rendering: whole pictures, single points, owners. Validation and choice of implementation.

| implementation | runs on | reverse mode | forward mode, Hessians | float64 |
|---|---|---|---|---|
| "xla" | anything | yes (JAX's own) | yes | yes |
| "xla_vjp" | anything | yes (hand-written) | forward over reverse only | yes |
| "pallas" | GPU | yes (hand-written) | no | no |
| "pallas_interpret" | anything, for tests of the kernels | yes (hand-written) | no | yes |

``None`` chooses the fastest one that runs here.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from sad_jax import passes, render_xla
from sad_jax import score as formula
from sad_jax.candidates import Candidates
from sad_jax.cells import Grid
from sad_jax.search import find_candidates
from sad_jax.sites import Sites


def render(
    sites: Sites,
    lists: Candidates | tuple[int, int],
    *,
    implementation: str | None = None,
    deterministic: bool = True,
) -> jax.Array:
    """Draws the picture: each pixel is the softmax blend of the sites in its cell's list.

    color(x) = sum_i w_i c_i with w = softmax(-tau_i (d_i(x) - r_i / S)) over the list (Iinbor et
    al., SIGGRAPH 2026; ``score.py``). Differentiable in the sites; the lists are held fixed.

    Args:
      sites: N sites with C channels.
      lists: the lists of the cells, or the canvas (H, W) in pixels, for which the exact lists are
        then found (K and cell size as the ``Canvas`` says, else 8 and 1).
      implementation: "xla" (any derivative), "xla_vjp" (hand-written reverse pass), "pallas" (GPU);
        a named one runs or raises, None chooses.
      deterministic: gradients with the same bits every time also on a GPU ("pallas"); if not,
        atomic additions.

    Returns:
      float[H, W, C] in the sites' precision.

    Raises:
      ValueError: sites whose fields do not fit together, an unknown implementation.
      NotImplementedError: the named implementation does not run here.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.render(sites, (6, 9)).shape
      (6, 9, 3)
      >>> jax.grad(lambda s: sad.render(s, (6, 9)).sum())(sites).color.shape
      (5, 3)
    """
    check_sites(sites)
    lists = resolve(sites, lists)
    if implementation == "xla":
        return _plain(lists.grid, sites, lists.ids)
    passes.launch_of(implementation, lists.k, sites.color.dtype)  # raises where it does not run
    try:
        return _vjp(lists.grid, sites, lists.ids, implementation, deterministic)
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(
            'expected implementation="xla" for forward mode (jvp, jacfwd), '
            f"got {implementation!r}, which has a hand-written reverse pass"
        ) from None


def query(sites: Sites, points: jax.Array, lists: Candidates | tuple[int, int]) -> jax.Array:
    """Colours at any points: random access, the same blend as ``render``.

    A point takes the list of the cell in which it lies (pixel (i, j) covers i +- 1/2, j +- 1/2);
    outside the canvas that of the nearest cell. At a pixel's centre it is the pixel's colour.

    Args:
      sites: N sites with C channels.
      points: float[..., 2], (x, y) in pixels.
      lists: the lists of the cells, or the canvas (H, W).

    Returns:
      float[..., C], differentiable in any mode in the sites and in the points.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.query(sites, jax.numpy.asarray([[0.5, 3.0], [2.0, 2.0]]), (6, 9)).shape
      (2, 3)
    """
    check_sites(sites)
    points = jnp.asarray(points)
    if points.ndim < 1 or points.shape[-1] != 2:
        raise ValueError(f"expected points [..., 2], got {points.shape}")
    lists = resolve(sites, lists)
    return _query(lists.grid, sites, points, lists.ids)


@partial(jax.jit, static_argnums=0)
def _query(grid: Grid, sites: Sites, points: jax.Array, ids: jax.Array) -> jax.Array:
    x, y = points.reshape(-1, 2).T
    column, row = grid.cell_of(points.reshape(-1, 2))
    table = render_xla.site_table(sites, grid.size)
    rows, colors = render_xla.split_table(formula.gather(table, ids[row, column].T))
    blended = render_xla.blend(formula.softmax_weights(rows, x, y), colors)
    return blended.T.reshape(*points.shape[:-1], -1)


def resample(sites: Sites, lists: Candidates, new_shape: tuple[int, int]) -> jax.Array:
    """The same picture at another size: the cells scale along, every new pixel is one query.

    Args:
      sites: N sites.
      lists: their lists on the stored canvas.
      new_shape: (H', W') in pixels; the canvas is stretched over it.

    Returns:
      float[H', W', C].

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> sad.resample(sites, sad.find_candidates(sites, (6, 9)), (12, 18)).shape
      (12, 18, 3)
    """
    height, width = new_shape
    x = (jnp.arange(width) + 0.5) * (lists.width / width) - 0.5
    draw = lambda y: query(sites, jnp.stack([x, jnp.full_like(x, y)], -1), lists)  # noqa: E731
    return jax.lax.map(draw, (jnp.arange(height) + 0.5) * (lists.height / height) - 0.5)


def owners(sites: Sites, lists: Candidates | tuple[int, int]) -> jax.Array:
    """The site of largest weight at every pixel: the soft partition made hard.

    Args:
      sites: N sites.
      lists: the lists of the cells, or the canvas (H, W).

    Returns:
      int32[H, W], the sites' ids.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> int(sad.owners(sites, (6, 9)).max()) < 5
      True
    """
    check_sites(sites)
    lists = resolve(sites, lists)
    return render_xla.owners(lists.grid, jax.lax.stop_gradient(sites), lists.ids)


def check_sites(sites: Sites) -> None:
    """Raises a ValueError unless all fields are rows of the same N sites."""
    n = sites.position.shape[0] if sites.position.ndim else 0
    channels = sites.color.shape[-1] if sites.color.ndim else 0
    expected = {
        "position": (n, 2),
        "log_tau": (n,),
        "radius": (n,),
        "color": (n, channels),
        "direction": (n, 2),
        "log_aniso": (n,),
    }
    for name, wanted in expected.items():
        shape = jnp.shape(getattr(sites, name))
        if shape != wanted or 0 in shape:
            raise ValueError(f"expected sites.{name} of shape {wanted} (N >= 1), got {shape}")


def resolve(sites: Sites, lists: Candidates | tuple[int, int]) -> Candidates:
    """The given lists, or the exact ones of a canvas."""
    return lists if isinstance(lists, Candidates) else find_candidates(sites, lists)


_vjp = jax.jit(passes.render_vjp, static_argnums=(0, 3, 4))
_plain = jax.jit(render_xla.render_plain, static_argnums=0)
