"""``encode`` and ``save``: sites to bytes, exactly or compactly."""

from __future__ import annotations

import dataclasses
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Shaped

from sad_jax.backend import Backend, resolve
from sad_jax.coding.boxes import influence
from sad_jax.coding.relax import EFFORT, Effort, Relaxation
from sad_jax.coding.rounding import Draft
from sad_jax.coding.steps import ASSUMED_ERROR, base_steps, cell_bits
from sad_jax.model.canvas import Canvas
from sad_jax.model.frame import Frame
from sad_jax.model.sites import Sites, check_sites, check_values, in_float32, unit
from sad_jax.model.value_range import ValueRange
from sad_jax.optimize.least_squares import Target, make_target
from sad_jax.sharding import to_host
from sad_jax.storage import files
from sad_jax.storage.atomic import write_bytes
from sad_jax.storage.compact import codec
from sad_jax.storage.compact.coders import Model
from sad_jax.storage.compact.curve import to_curve
from sad_jax.storage.compact.layout import MOST_CURVE_BITS, MOST_LEAST_RADIUS, Head
from sad_jax.storage.compact.rules import PIXEL, Rules
from sad_jax.storage.pictures import check_image
from sad_jax.storage.sad import COMPACT, encode_raw, join, write_start

LOSSLESS = "lossless"
QUALITY = 8.0  # dB, the usual one: about 0.3 dB are lost
LARGEST = 60.0  # dB, either way
LARGEST_RADIUS = MOST_LEAST_RADIUS  # units, either way: escapes of the coder reach so far
NO_MODEL = Model({}, (), 0, 0)


@dataclasses.dataclass(frozen=True)
class Job:
    """Sites to encode, on their canvas, with colours in [0, 1], and the picture they stand for.

    ``frame``: in which the target lies; ``value_range``: what 0 and 1 stand for; ``known``: whether
    the target is the picture, or there is none.
    """

    sites: Sites
    canvas: Canvas
    target: Target
    value_range: ValueRange
    known: bool
    frame: Frame


def rounded(job: Job, quality: float, effort: Effort | None = EFFORT) -> codec.Rounded:
    """The sites in whole numbers, at a quality; without an effort they are only rounded."""
    relaxation = Relaxation(job.target, job.frame, effort or EFFORT)
    lists = relaxation.find_lists(job.sites)
    error = None if job.known else ASSUMED_ERROR
    steps = base_steps(job.frame.enter(job.sites), lists, job.target, quality, error)
    position, radius = jax.device_get((job.sites.position, job.sites.radius))
    radii = [float(f(radius)) * PIXEL for f in (np.min, np.max)]
    least = min(PIXEL, math.floor(radii[0]))
    bits = cell_bits(job.canvas, job.sites.num_sites)
    farthest = float(np.max(abs(position))) * PIXEL / 2**bits
    if max(map(abs, radii)) > LARGEST_RADIUS or farthest >= 2 ** (MOST_CURVE_BITS - 1):
        raise ValueError(
            "expected sites near their canvas, with no free slots, for a compact file, got radii "
            f"from {radii[0] / PIXEL:g} to {radii[1] / PIXEL:g} and positions up to "
            f"{farthest * 2**bits / PIXEL:g} pixels"
        )
    rules = Rules(steps, job.canvas.size, bits, least)
    draft = Draft(job.sites, rules, relaxation if job.known and effort else None)
    return along_curve(draft.round_all(), rules, job.value_range)


def along_curve(numbers: codec.Numbers, rules: Rules, value_range: ValueRange) -> codec.Rounded:
    """The numbers in the order of their cells along the curve, whose places replace the cells."""
    x, y = numbers.pop("x"), numbers.pop("y")
    origin = min(0, int(x.min())), min(0, int(y.min()))
    x, y = x - origin[0], y - origin[1]
    bits = max(1, int(max(x.max(), y.max())).bit_length())
    place = to_curve(x, y, bits)
    order = np.argsort(place, kind="stable")
    numbers = {name: value[order] for name, value in (numbers | {"place": place}).items()}
    channels = sum(name.startswith("color") for name in numbers)
    head = Head(len(order), channels, rules, bits, origin, value_range, NO_MODEL)
    return codec.Rounded.of(head, numbers)


def file_of(job: Job, found: codec.Rounded) -> bytes:
    """The file of rounded sites."""
    head = found.head
    start = write_start(COMPACT, job.canvas, head.channels, head.num_sites)
    boxes = np.zeros((0, 4), np.int64)
    if head.order.groups:
        decoded = Sites(**jax.device_put(found.sites()))
        lists = Relaxation(job.target, job.frame).find_lists(decoded)
        ids = job.frame.crop_ids(to_host(lists.ids))
        boxes = influence(head.order, decoded, job.canvas, ids)
    return join(start, codec.pack(start, found, boxes))


def encode(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    target: Shaped[ArrayLike, "H W *C"] | None = None,
    quality: float | str = LOSSLESS,
    implementation: str | Backend | None = None,
) -> bytes:
    """Packs sites and their canvas into the bytes of a ``.sad`` file.

    At a quality the sites are rounded. With the picture that they stand for, one field is rounded
    after another while what is still free moves to make up for it, which loses about a quarter of
    what rounding alone does; it takes a fifth of a fit's time.

    Args:
      sites: N >= 1 sites of any number of channels, finite.
      canvas: (H, W) in pixels, or a ``Canvas`` with K and cell size.
      target: the picture, [H, W] or [H, W, C], that the sites were fitted to.
      quality: "lossless", the very float32 values, 40 bytes a site of three channels; or a number
        of dB: rounding alone stays so far below the picture's error against the target, or
        without one below an error of 40 dB. 8 loses about 0.3 dB at 5 to 6 bytes a site, 4
        about 1 dB; 6 more is a bit more for each number of a site.
      implementation: of the passes over the picture, as in ``render``.

    Returns:
      The file's bytes, for ``decode``.

    Raises:
      ValueError: for fields whose shapes do not fit, values that are not finite, a canvas or a
        count that the header cannot hold, a target of another size, or no quality.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.ones((8, 8, 3)), 4, key=jax.random.key(0))
      >>> data = sad.encode(sites, (8, 8))
      >>> len(data), sad.decode(data)[1]
      (178, Canvas(shape=(8, 8), k=8, cell=1))
      >>> len(sad.encode(sites, (8, 8), quality=6)) < 120
      True
    """
    canvas = Canvas.of(canvas)
    if quality == LOSSLESS:
        if target is not None:
            raise ValueError("expected a quality beside a target, got the lossless one")
        return encode_raw(sites, canvas)
    decibels = check_quality(quality)
    job = make_job(sites, canvas, target, implementation)
    return file_of(job, rounded(job, decibels))


def check_quality(quality: float | str) -> float:
    """A quality in dB; ValueError for anything else."""
    number = isinstance(quality, int | float | np.number) and not isinstance(quality, bool)
    if number and abs(float(quality)) <= LARGEST:
        return float(quality)
    raise ValueError(
        f"expected a quality of {-LARGEST:g} to {LARGEST:g} dB or {LOSSLESS!r}, got {quality!r}"
    )


def make_job(
    sites: Sites,
    canvas: Canvas,
    target: Shaped[ArrayLike, "H W *C"] | None,
    implementation: str | Backend | None,
) -> Job:
    """Sites and their target, checked, with colours in [0, 1]."""
    check_sites(sites)
    check_values(sites := in_float32(sites))
    if (none := np.sum(np.square(unit(sites.direction)), -1) < 0.5).any():
        raise ValueError(
            "expected directions of a length for a compact file, got a direction of zero, of site "
            f"{int(none.argmax())}"
        )
    shape = (*canvas.shape, sites.channels)
    if target is None:
        picture, value_range = np.zeros(shape, np.float32), ValueRange.of(sites.color)
    else:
        picture = check_image(target)
        if picture.shape != shape:
            raise ValueError(f"expected a target of shape {shape}, got {picture.shape}")
        value_range = ValueRange.of(picture)
        picture = value_range.to_unit(picture)
    value_range = ValueRange(*(float(np.float32(value)) for value in value_range))
    scaled = sites.replace(color=value_range.to_unit(sites.color))
    placed = jax.tree.map(jnp.asarray, scaled)
    backend = resolve(implementation, placed, k=canvas.k)
    laid_out = make_target(canvas.grid, jnp.asarray(picture), backend=backend)
    return Job(placed, canvas, laid_out, value_range, target is not None, Frame.of(canvas))


def save(
    path: str | os.PathLike,
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *,
    target: Shaped[ArrayLike, "H W *C"] | None = None,
    quality: float | str = LOSSLESS,
) -> None:
    """Writes sites to a file, whole or not at all; the suffix says in which form.

    Args:
      path: ending in ``.sad`` (any number of channels), ``.txt`` or ``.json`` (the official forms:
        three channels, always read as K = 8 and cells of one pixel).
      sites: N sites.
      canvas: (H, W) in pixels, meaning K = 8 and cells of one pixel, or a ``Canvas``.
      target: the photograph, of ``.sad`` alone, as in ``encode``.
      quality: of ``.sad`` alone, as in ``encode``; lossless unless asked for otherwise.

    Raises:
      ValueError: for another suffix, or sites that the form cannot hold.

    Examples:
      >>> import jax, jax.numpy as jnp, os, sad_jax as sad, tempfile
      >>> sites = sad.init_sites(jnp.ones((8, 8, 3)), 4, key=jax.random.key(0))
      >>> path = os.path.join(tempfile.mkdtemp(), "a.sad")
      >>> sad.save(path, sites, (8, 8))
      >>> sites, canvas = sad.load(path)
      >>> sites.num_sites, canvas.shape
      (4, (8, 8))
    """
    if files.check_suffix(path) == ".sad":
        write_bytes(path, encode(sites, canvas, target=target, quality=quality))
    elif quality != LOSSLESS or target is not None:
        raise ValueError(f"expected a .sad file for a quality or a target, got {str(path)!r}")
    else:
        files.save_official(path, sites, canvas)
