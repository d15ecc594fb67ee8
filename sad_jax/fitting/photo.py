"""The picture of a fit with the weights of its pixels: on the host, or in bands over devices."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from sad_jax.backend import Backend, resolve
from sad_jax.metrics import likeness, mse_to_psnr, psnr_of_bands, ssim_of
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.model.start import init_sites, sobel, start_on
from sad_jax.model.supersampling import repeated
from sad_jax.model.value_range import ValueRange
from sad_jax.optimize.least_squares import Target, make_target
from sad_jax.sharding import padded_rows, place_read_rows, place_rows, to_host
from sad_jax.storage.pictures import LARGEST, check_image
from sad_jax.storage.strips import PictureFile

Picture: TypeAlias = Shaped[ArrayLike, "H W *C"] | PictureFile


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A picture on the host.

    Attributes:
      values: float32[H, W, C].
      weight: float32[H, W], at least 0; None counts all pixels alike.
    """

    values: np.ndarray
    weight: jax.Array | None = None

    mesh = None

    @classmethod
    def of(cls, image: Picture, mask: Shaped[ArrayLike, "H W"] | None = None) -> Photo:
        """Checks a picture and its mask, as ``fit`` takes them."""
        values = image.read() if isinstance(image, PictureFile) else check_image(image)
        return cls(values, check_mask(mask, values.shape[:2]))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.values.shape

    def value_range(self) -> ValueRange:
        """Of the values that count."""
        counts = slice(None) if self.weight is None else np.asarray(self.weight) > 0
        return ValueRange.of(self.values[counts])

    def to_unit(self, values: ValueRange) -> Photo:
        """The picture with its range mapped to [0, 1]."""
        return dataclasses.replace(self, values=values.to_unit(self.values))

    def visible(self) -> np.ndarray:
        """The picture, with the mean colour of what counts where the weight is zero."""
        if self.weight is None:
            return self.values
        counts = np.asarray(self.weight) > 0
        return np.where(counts[..., None], self.values, self.values[counts].mean(0))

    def repeated(self, samples: int) -> Photo:
        """The picture, and its mask, at so many times its size: every pixel a square of equal
        ones."""
        weight = None if self.weight is None else repeated(self.weight, samples)
        return Photo(repeated(self.values, samples), weight)

    def target(self, canvas: Canvas, loss: str, implementation: str | None) -> Target:
        """What the optimisers compare with."""
        image = jax.device_put(self.values)
        backend = resolve(implementation, image, k=canvas.k)
        return make_target(canvas.grid, image, self.weight, loss=loss, backend=backend)

    def digests(self) -> tuple[str, str]:
        """What tells the picture from others, and the mask."""
        mask = "none" if self.weight is None else _digest(_rows(np.asarray(self.weight)))
        return f"{self.shape} {_digest(_rows(self.values))}", mask

    def likeness(self, bands: Iterable[np.ndarray]) -> tuple[float, float]:
        """PSNR and SSIM of a picture that comes in bands of rows, all pixels alike."""
        return likeness(bands, self.values)

    def psnr(self, bands: Iterable[np.ndarray]) -> float:
        """As ``likeness``, which takes longer."""
        return psnr_of_bands(bands, self.values)


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoInBands:
    """A picture over the devices of a mesh, of which a process need hold no more than its strip.

    Attributes:
      values: float32[padded rows, W, C], zero beyond the picture.
      weight: float32[padded rows, W], zero beyond the picture.
      height: H.
      masked: whether a mask was given.
      mesh: the devices.
    """

    values: jax.Array
    weight: jax.Array
    height: int
    masked: bool
    mesh: Mesh

    @classmethod
    def of(
        cls,
        image: Picture,
        mask: Shaped[ArrayLike, "H W"] | None,
        canvas: Canvas,
        mesh: Mesh,
    ) -> PhotoInBands:
        """Places a picture and its mask; those that lie on devices already are moved there.

        Of a file each process reads the rows of its devices.
        """
        rows, shape = padded_rows(canvas.grid, mesh), canvas.shape
        if isinstance(image, PictureFile):
            values = place_read_rows(image.rows, image.shape, mesh, rows)
        elif _is_spread(image):
            values = place_rows(_floats(image), mesh, rows)
            _check_spread(values, "image", -LARGEST)
        else:
            values = place_rows(check_image(image), mesh, rows)
        if _is_spread(mask):
            if mask.shape != shape:  # type: ignore[union-attr]
                raise ValueError(f"expected a mask of the image's (H, W) {shape}, got {mask.shape}")  # type: ignore[union-attr]
            weight = place_rows(_floats(mask)[..., 0], mesh, rows)
            _check_spread(weight, "mask", 0)
        else:
            counts = check_mask(mask, shape)
            ones = np.broadcast_to(np.float32(1), shape)
            weight = place_rows(ones if counts is None else np.asarray(counts), mesh, rows)
        return cls(values, weight, shape[0], mask is not None, mesh)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, *self.values.shape[1:])  # type: ignore[return-value]

    def value_range(self) -> ValueRange:
        """Of the values that count."""
        return ValueRange.of(np.asarray(_extremes(self.values, self.weight)))

    def to_unit(self, values: ValueRange) -> PhotoInBands:
        """The picture with its range mapped to [0, 1]."""
        if values.is_unit:
            return self
        return dataclasses.replace(self, values=_mapped(self.values, self.weight, *values))

    def visible(self) -> jax.Array:
        """The picture, with the mean colour of what counts where the weight is zero."""
        return _filled(self.values, self.weight)

    def target(self, canvas: Canvas, loss: str, implementation: str | None) -> Target:
        """What the optimisers compare with."""
        backend: Backend = resolve(implementation, self.values, k=canvas.k)
        options = {"loss": loss, "backend": backend, "mesh": self.mesh}
        return make_target(canvas.grid, self.values, self.weight, **options)

    def digests(self) -> tuple[str, str]:
        """What tells the picture from others, and the mask: the same as of one on the host."""
        mask = _digest(_rows(self.weight, self.height)) if self.masked else "none"
        return f"{self.shape} {_digest(_rows(self.values, self.height))}", mask

    def likeness(self, bands: Iterable[jax.Array]) -> tuple[float, float]:
        """PSNR and SSIM of a picture, the only one of ``bands``, all pixels alike."""
        (picture,) = bands
        return self.psnr([picture]), float(_structure(picture, self.values))

    def psnr(self, bands: Iterable[jax.Array]) -> float:
        """As ``likeness``, which takes longer."""
        (picture,) = bands
        return float(mse_to_psnr(_squared_error(picture, self.values)))


def start_sites(image: np.ndarray | jax.Array, canvas: Canvas, count: int, key) -> Sites:
    """``init_sites`` of a picture on the host, or of one over devices with rows beyond it."""
    if isinstance(image, np.ndarray):
        return init_sites(image, count, key=key)
    edges = _edges(image, canvas.height)
    return start_on(image, edges, to_host(edges)[: canvas.height], count, key)


def check_mask(
    mask: Shaped[ArrayLike, "H W"] | None, shape: tuple[int, int]
) -> Float[Array, "H W"] | None:
    """Weights float32[H, W], or None; raises a ValueError unless they are usable."""
    if mask is None:
        return None
    weight = np.asarray(mask, np.float32)
    if weight.shape != tuple(shape):
        raise ValueError(
            f"expected a mask of the image's (H, W) {tuple(shape)}, got {weight.shape}"
        )
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() == 0:
        raise ValueError("expected mask weights that are finite, at least 0 and not all 0")
    return jax.device_put(weight)


def _is_spread(array) -> bool:
    """Whether it lies on several devices, perhaps of other processes."""
    return isinstance(array, jax.Array) and len(array.sharding.device_set) > 1


@jax.jit
def _floats(image: jax.Array) -> jax.Array:
    """As ``check_image`` makes them, of an array over devices."""
    kind = image.dtype
    image = image[..., None] if image.ndim == 2 else image
    if jnp.issubdtype(kind, jnp.unsignedinteger):
        return image.astype(jnp.float32) / jnp.iinfo(kind).max
    return image.astype(jnp.float32)


def _check_spread(values: jax.Array, name: str, least: float) -> None:
    """Raises unless all values are finite, at least ``least`` and not too large."""
    low, high = (float(v) for v in np.asarray(_extremes(values, jnp.ones(values.shape[:2]))))
    if not (least <= low and high <= LARGEST):
        raise ValueError(
            f"expected finite values of the {name} from {least:g} to {LARGEST:g}, "
            f"got {low:g} to {high:g}"
        )


@jax.jit
def _extremes(values: jax.Array, weight: jax.Array) -> jax.Array:
    """float[2]: the least and the largest value that counts, or 0 beyond them."""
    counts = weight.reshape(*weight.shape, *[1] * (values.ndim - weight.ndim)) > 0
    values = jnp.where(counts, values, 0)
    return jnp.stack([jnp.min(values), jnp.max(values)])


@jax.jit
def _mapped(values: jax.Array, weight: jax.Array, low: float, high: float) -> jax.Array:
    return (values - low) / (high - low)


@jax.jit
def _filled(values: jax.Array, weight: jax.Array) -> jax.Array:
    counts = (weight > 0)[..., None]
    mean = jnp.sum(jnp.where(counts, values, 0), (0, 1)) / jnp.sum(counts)
    return jnp.where(counts, values, mean)


@partial(jax.jit, static_argnums=1)
def _edges(image: jax.Array, height: int) -> jax.Array:
    """float[padded rows, W]: how steep the picture is; beyond it zero."""
    edges = sobel(image[:height])
    return jnp.pad(edges, ((0, len(image) - height), (0, 0)))


@jax.jit
def _squared_error(picture: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.mean((picture - values[: len(picture)]) ** 2)


@jax.jit
def _structure(picture: jax.Array, values: jax.Array) -> jax.Array:
    return ssim_of(picture, values[: len(picture)])


def _rows(array: np.ndarray | jax.Array, height: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Rows of a picture with their numbers: those that this process is the first to have."""
    if isinstance(array, np.ndarray):
        parts = [(0, array)]
    else:
        shards = [shard for shard in array.addressable_shards if shard.replica_id == 0]
        parts = [(shard.index[0].start or 0, np.asarray(shard.data)) for shard in shards]
    for first, part in parts:
        for number, row in enumerate(part, first):
            if height is None or number < height:
                yield number, row.tobytes()


def _digest(rows: Iterator[tuple[int, bytes]]) -> str:
    """A hash of all rows, in whatever order and by however many processes they are read."""
    total = sum(
        int.from_bytes(hashlib.sha256(b"%d " % number + row).digest()) for number, row in rows
    )
    if jax.process_count() > 1:
        own = np.frombuffer((total % 2**256).to_bytes(32), np.uint8)
        every = np.asarray(multihost_utils.process_allgather(own))
        total = sum(int.from_bytes(row.tobytes()) for row in every)
    return f"{total % 2**256:064x}"
