"""The Sites pytree: fields, units, ranges, and the edits that keep them in range."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import register_pytree_node_serialization
from jaxtyping import Array, Bool, Float, Int

from sad_jax import html
from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas
from sad_jax.pytree import PyTree
from sad_jax.varying import check_axes

RADIUS_RANGE = (1.0, 512.0)  # pixels
LOG_ANISO_RANGE = (-4.0, 4.0)
LOG_TAU_RANGE = (-2.0, 12.0)
PARKED_RADIUS = -1e12  # a site of this radius is never in a list: its score is huge everywhere
LIMITS = {  # of magnitudes: within them no score and no distance overflows float32
    "position": 1e9,
    "log_tau": 40.0,
    "radius": -PARKED_RADIUS,
    "direction": 1e15,
    "log_aniso": 40.0,
}


class Sites(PyTree):
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
        return is_alive(self.radius)

    @property
    def known_alive(self) -> np.ndarray:
        """``alive`` on the host, where nothing need be compiled for it."""
        return np.asarray(jax.device_get(self.radius)) != PARKED_RADIUS

    def compact(self) -> Sites:
        """The rows that hold a site of the picture."""
        sites = jax.device_get(self)
        return jax.device_put(jax.tree.map(lambda leaf: leaf[sites.known_alive], sites))

    def _repr_html_(self) -> str:
        """Where the sites lie, in their colours, and their figures, as notebooks show them."""
        position, color = (np.asarray(a)[self.known_alive] for a in (self.position, self.color))
        return html.beside(html.dots(position, color), self.table())

    def table(self) -> str:
        """Number, channels, and of every field the least, middle and largest value, as HTML."""
        alive = self.known_alive
        head = f"<b>{np.sum(alive):,} sites</b>, {self.channels} channels, {len(alive):,} slots"
        rows: list[tuple[str, ...]] = [("field", "least", "median", "largest")]
        for name in ("position", "log_tau", "radius", "color", "log_aniso"):
            values = np.asarray(getattr(self, name))[alive]
            rows.append((name, *(f"{v:.4g}" for v in np.percentile(values, (0, 50, 100)))))
        return f"<div>{head}{html.table(rows)}</div>"


register_pytree_node_serialization(
    Sites,
    serialized_name="sad_jax.Sites",
    serialize_auxdata=lambda _: b"",
    deserialize_auxdata=lambda _: (),
)


@jax.jit
def is_alive(radius: jax.Array) -> jax.Array:
    """Which radii are those of sites of the picture."""
    return radius != PARKED_RADIUS


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
      log_tau in [-2, 12], color in its range and a unit direction. Free slots stay free.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> wild = sites.replace(position=sites.position + 100, direction=3 * sites.direction)
      >>> tame = sad.clamp(wild, (6, 9))
      >>> tame.position[0].tolist(), tame.direction[0].tolist()
      ([8.0, 5.0], [1.0, 0.0])
    """
    return _clamp(sites, Canvas.of(canvas).shape, color_range)


@partial(jax.jit, static_argnums=(1, 2))
def _clamp(sites: Sites, shape: tuple[int, int], color_range) -> Sites:
    height, width = shape
    corner = jnp.asarray([width - 1, height - 1], sites.position.dtype)
    return clamp_to(sites, corner, color_range)


def clamp_to(
    sites: Sites, corner: jax.Array, color_range: tuple[float, float] | None = (0.0, 1.0)
) -> Sites:
    """``clamp`` to a picture whose last pixel is ``corner``, float[2]."""
    return sites.replace(
        position=jnp.clip(sites.position, 0, corner[None]),
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
    largest = jnp.max(abs(direction), -1, keepdims=True)
    direction = direction / jnp.where(largest > LIMITS["direction"], largest, 1)
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

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((8, 8, 3)), 4, key=jax.random.key(0))
      >>> float(sad.resize(sites, (8, 8), (16, 16)).radius[0])
      8.0
    """
    check_sites(sites)
    old, new = Canvas.of(canvas), Canvas.of(new_canvas)
    ratio = new.size / old.size if scale_radius else 1.0
    return _resize(sites, (new.width / old.width, new.height / old.height), ratio)


@partial(jax.jit, static_argnums=(1, 2))
def _resize(sites: Sites, scale: tuple[float, float], ratio: float) -> Sites:
    scales = jnp.asarray([scale], sites.position.dtype)
    return sites.replace(position=sites.position * scales, radius=sites.radius * ratio)


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
    """Raises a ValueError unless all fields are rows of the same N >= 1 sites, in one precision.

    Numbers below 32 bits are refused: a parked radius is infinite in float16, and a bfloat16 tells
    no two pixels apart beyond 256.
    """
    if not isinstance(sites, Sites):
        raise ValueError(f"expected Sites, got {describe(sites)}")
    fields = {name: getattr(sites, name) for name in sites.__dataclass_fields__}
    for name, field in fields.items():
        if not (hasattr(field, "shape") and hasattr(field, "dtype")):
            raise ValueError(f"expected an array for sites.{name}, got {describe(field)}")
    if sites.position.ndim > 2 and sites.radius.ndim == sites.position.ndim - 1:
        raise ValueError(
            f"expected the sites of one picture, got a batch of shape {sites.radius.shape[:-1]}; "
            "map over it by jax.vmap"
        )
    if sites.position.shape == (0, 2):
        raise ValueError("expected at least one site, got none")
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
        shape = fields[name].shape
        if shape != wanted or 0 in shape:
            raise ValueError(f"expected sites.{name} of shape {wanted} (N >= 1), got {shape}")
    check_axes("sites", sites)
    kinds = {str(jax.dtypes.canonicalize_dtype(field.dtype)) for field in fields.values()}
    if kinds not in ({"float32"}, {"float64"}):
        raise ValueError(
            f"expected sites in float32, or all in float64, got {', '.join(sorted(kinds))}"
        )


def within_limits(sites: Sites) -> Sites:
    """The sites with values that overflow nothing: those beyond ``LIMITS`` are put on them."""
    clipped = ("position", "log_tau", "radius", "log_aniso")
    fields = {name: getattr(sites, name) for name in clipped}
    return sites.replace(**{n: jnp.clip(f, -LIMITS[n], LIMITS[n]) for n, f in fields.items()})


def check_values(sites: Sites) -> None:
    """Raises a ValueError unless all values, on the host, are finite and within ``LIMITS``."""
    for name, field in vars(jax.device_get(sites)).items():
        values = abs(np.asarray(field))
        largest, limit = float(values.max(initial=0)), LIMITS.get(name, np.inf)
        if not np.isfinite(largest):
            raise ValueError(f"expected finite sites, got NaN or infinite values of {name}")
        if largest > limit:
            raise ValueError(f"expected {name} of at most {limit:g} either way, got {largest:g}")


def in_float32(sites: Sites) -> Sites:
    """The sites in float32 on the host, as files hold them; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), jax.device_get(sites))


def park(sites: Sites, ids: np.ndarray) -> Sites:
    """Takes the sites ``ids`` out of the picture; their slots are free for others."""
    radius = np.array(sites.radius)
    radius[ids] = PARKED_RADIUS
    return sites.replace(radius=radius)


def unparked(sites: Sites) -> Sites:
    """The sites as optimisers see them: the radius of a free slot, zero here, rules no norm."""
    alive = sites.known_alive if isinstance(sites.radius, np.ndarray) else sites.alive
    return sites.replace(radius=sites.radius * alive)


@partial(jax.jit, static_argnums=1)
def pad(sites: Sites, capacity: int) -> Sites:
    """The sites, and behind them free slots up to ``capacity`` in all."""
    n = sites.num_sites
    room = lambda a: [(0, capacity - n)] + [(0, 0)] * (a.ndim - 1)  # noqa: E731
    padded = jax.tree.map(lambda a: jnp.pad(a, room(a)), sites)
    return padded.replace(radius=padded.radius.at[n:].set(PARKED_RADIUS))


@partial(jax.jit, static_argnums=1)
def along_curve(sites: Sites, canvas: Canvas) -> Sites:
    """The sites in Hilbert order: neighbours in the file are neighbours in the picture."""
    order = jnp.argsort(hilbert_index(sites.position, canvas.size), stable=True)
    return jax.tree.map(lambda a: a[order], sites)
