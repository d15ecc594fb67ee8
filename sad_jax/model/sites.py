"""The Sites pytree: fields, units, ranges, and the edits that keep them in range."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sad_jax import html
from sad_jax.model.canvas import Canvas

RADIUS_RANGE = (1.0, 512.0)  # pixels
LOG_ANISO_RANGE = (-4.0, 4.0)
LOG_TAU_RANGE = (-2.0, 12.0)
PARKED_RADIUS = -1e12  # a site of this radius is never in a list: its score is huge everywhere


class Sites(flax.struct.PyTreeNode):
    """A Soft Anisotropic Diagram: N sites, each one a differentiable row of every field.

    Attributes:
      position: float[N, 2], (x, y) in pixels; pixel centres are integers, x to the right, y down.
      log_tau: float[N], natural log of the inverse temperature.
      radius: float[N], additive weight in pixels.
      color: float[N, C], in the picture's own values, usually [0, 1]; any number of channels.
      direction: float[N, 2], the axis u of the metric; its length does not count.
      log_aniso: float[N], a: log of the metric's eigenvalue along ``direction``; across it is -a.
    """

    position: Float[Array, "N 2"]
    log_tau: Float[Array, " N"]
    radius: Float[Array, " N"]
    color: Float[Array, "N C"]
    direction: Float[Array, "N 2"]
    log_aniso: Float[Array, " N"]

    @property
    def num_sites(self) -> int:
        return self.position.shape[-2]

    @property
    def channels(self) -> int:
        return self.color.shape[-1]

    @property
    def alive(self) -> Bool[Array, " N"]:
        """Which rows hold a site of the picture; the others are free slots, see ``park``."""
        return self.radius != PARKED_RADIUS

    def compact(self) -> Sites:
        """The rows that hold a site of the picture."""
        alive = np.flatnonzero(self.alive)
        return jax.tree.map(lambda leaf: leaf[alive], self)

    def _repr_html_(self) -> str:
        """Number, channels, and of every field the least, middle and largest value."""
        alive = np.asarray(self.alive)
        head = f"<b>{np.sum(alive):,} sites</b>, {self.channels} channels, {len(alive):,} slots"
        rows: list[tuple[str, ...]] = [("field", "least", "median", "largest")]
        for name in ("position", "log_tau", "radius", "color", "log_aniso"):
            values = np.asarray(getattr(self, name))[alive]
            rows.append((name, *(f"{v:.4g}" for v in np.percentile(values, (0, 50, 100)))))
        return f"<div>{head}{html.table(rows)}</div>"


def clamp(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    color_range: tuple[float, float] | None = (0.0, 1.0),
) -> Sites:
    """Puts every field back into its range and the direction to unit length.

    Args:
      sites: N sites.
      canvas: (H, W) in pixels, or a ``Canvas``.
      color_range: least and largest colour; None leaves colours as they are.

    Returns:
      Sites with position in [0, W-1] x [0, H-1], radius in [1, 512], log_aniso in [-4, 4],
      log_tau in [-2, 12], color in its range and a unit direction.
    """
    height, width = Canvas.of(canvas).shape
    corner = jnp.asarray([width - 1, height - 1], sites.position.dtype)
    return sites.replace(
        position=jnp.clip(sites.position, 0, corner),
        log_tau=jnp.clip(sites.log_tau, *LOG_TAU_RANGE),
        radius=jnp.where(
            sites.radius == PARKED_RADIUS, PARKED_RADIUS, jnp.clip(sites.radius, *RADIUS_RANGE)
        ),
        color=sites.color if color_range is None else jnp.clip(sites.color, *color_range),
        direction=unit(sites.direction),
        log_aniso=jnp.clip(sites.log_aniso, *LOG_ANISO_RANGE),
    )


def unit(direction: jax.Array) -> jax.Array:
    """Scales vectors float[..., 2] to length one (a zero vector stays zero)."""
    squared = jnp.sum(direction * direction, -1, keepdims=True)
    return direction * jax.lax.rsqrt(jnp.where(squared > 1e-20, squared, 1))


def resize(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    new_canvas: Canvas | tuple[int, int],
    *,
    scale_radius: bool = True,
) -> Sites:
    """Moves sites to a canvas of another size.

    With ``scale_radius`` distances and radii scale alike, so the picture does not change; without
    it only positions do, as in the official programs, and the picture changes with the scale.

    Args:
      sites: N sites on ``canvas``.
      canvas: (H, W) in pixels, or a ``Canvas``.
      new_canvas: (H', W') in pixels, or a ``Canvas``.
      scale_radius: whether radii scale with the longer side.

    Returns:
      The sites on the new canvas.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((8, 8, 3)), 4, key=jax.random.key(0))
      >>> float(sad.resize(sites, (8, 8), (16, 16)).radius[0])
      8.0
    """
    old, new = Canvas.of(canvas), Canvas.of(new_canvas)
    scale = jnp.asarray([new.width / old.width, new.height / old.height], sites.position.dtype)
    ratio = new.size / old.size if scale_radius else 1.0
    return sites.replace(position=sites.position * scale, radius=sites.radius * ratio)


def hilbert_index(position: Float[Array | np.ndarray, "N 2"], size: int) -> Int[Array, " N"]:
    """Rank key of points along a Hilbert curve over a square of ``size`` pixels.

    Args:
      position: float[N, 2], in pixels.
      size: the longer side of the canvas in pixels.

    Returns:
      int32[N], 15 bits a coordinate; neighbours on the curve are neighbours in the picture.
    """
    bits = max(1, min(15, int(np.ceil(np.log2(max(size, 2))))))
    x, y = (jnp.clip(position[..., i], 0, 2**bits - 1).astype(jnp.int32) for i in (0, 1))
    index = jnp.zeros_like(x)
    for bit in reversed(range(bits)):
        rx, ry = (x >> bit) & 1, (y >> bit) & 1
        index = (index << 2) | ((3 * rx) ^ ry)
        flip = (ry == 0) & (rx == 1)
        mask = (1 << bit) - 1
        x, y = jnp.where(flip, ~x & mask, x & mask), jnp.where(flip, ~y & mask, y & mask)
        x, y = jnp.where(ry == 0, y, x), jnp.where(ry == 0, x, y)
    return index


def check_sites(sites: Sites) -> None:
    """Raises a ValueError unless all fields are rows of the same N >= 1 sites."""
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


def park(sites: Sites, ids: np.ndarray) -> Sites:
    """Takes the sites ``ids`` out of the picture; their slots are free for others."""
    radius = np.array(sites.radius)
    radius[ids] = PARKED_RADIUS
    return sites.replace(radius=radius)


def pad(sites: Sites, capacity: int) -> Sites:
    """The sites, and behind them free slots up to ``capacity`` in all."""
    n = sites.num_sites
    room = lambda a: [(0, capacity - n)] + [(0, 0)] * (a.ndim - 1)  # noqa: E731
    padded = jax.tree.map(lambda a: jnp.pad(a, room(a)), sites)
    return jax.tree.map(jnp.asarray, park(padded, np.arange(n, capacity)))


def along_curve(sites: Sites, canvas: Canvas) -> Sites:
    """The sites in Hilbert order: neighbours in the file are neighbours in the picture."""
    order = jnp.argsort(hilbert_index(sites.position, canvas.size), stable=True)
    return jax.tree.map(lambda a: a[order], sites)
