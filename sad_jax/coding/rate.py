"""Files of a wanted quality, size or PSNR.

A quality of 6 dB more is a bit more for each of a site's numbers, so that one or two corrections
find the quality of a size. They look at what rounding alone would take, which differs from the
file's size by a few tenths of a percent; only the last is done with all effort.
"""

from __future__ import annotations

import dataclasses
import math
import warnings

import jax
import jax.numpy as jnp

from sad_jax.coding.encode import (
    LARGEST,
    LOSSLESS,
    QUALITY,
    Job,
    check_quality,
    file_of,
    rounded,
)
from sad_jax.draw.api import render
from sad_jax.lists.candidates import unknown_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.metrics import mse_to_psnr
from sad_jax.model.sites import Sites
from sad_jax.model.supersampling import shrunk
from sad_jax.storage.sad import decode, encode_raw

BYTES_PER_SITE = 5.6  # at the quality that is best for a given size, about
HEADER_BYTES = 90
GEOMETRY = 6  # numbers of a site beside its colours
DECIBELS_PER_BIT = 20 * math.log10(2)
FULL = 0.99  # share of the bytes that a file must fill, if it can
TRIES = 5
ENCODING = 0.22  # of a fit's time
FINEST = 20.0  # dB, where hardly anything is lost


@dataclasses.dataclass(frozen=True)
class Aim:
    """What a file should be: of a quality, of at most so many bytes, or of at least a PSNR."""

    quality: float | str = QUALITY
    most_bytes: int | None = None
    least_psnr: float | None = None

    def __post_init__(self):
        if self.quality != LOSSLESS:
            check_quality(self.quality)

    @property
    def lossless(self) -> bool:
        """Whether no site is rounded."""
        return (self.quality, self.most_bytes, self.least_psnr) == (LOSSLESS, None, None)

    @property
    def fit_share(self) -> float:
        """The share of a time budget that is left for the fit."""
        if self.most_bytes is None and self.least_psnr is None:
            return 1.0 if self.lossless else 1 / (1 + ENCODING)
        return 1 / (1 + 2 * ENCODING)  # it is tried about twice


def sites_for(num_bytes: int) -> int:
    """How many sites make the best of a file of so many bytes, by what was measured."""
    return max(1, round((num_bytes - HEADER_BYTES) / BYTES_PER_SITE))


def encode_to(job: Job, aim: Aim) -> bytes:
    """The file of the job's sites that meets the aim.

    Raises:
      ValueError: for bytes that are too few for these sites.

    Warns:
      UserWarning: where the sites themselves do not have the PSNR.
    """
    if aim.most_bytes is not None:
        return _of_bytes(job, aim.most_bytes)
    if aim.least_psnr is not None:
        return _of_psnr(job, aim.least_psnr)
    if aim.quality == LOSSLESS:
        return encode_raw(_own_range(job), job.canvas)
    return file_of(job, rounded(job, float(aim.quality)))


def _of_bytes(job: Job, most: int) -> bytes:
    count = job.sites.num_sites
    step = 8 * DECIBELS_PER_BIT / (count * (GEOMETRY + job.sites.channels))  # dB a byte
    goal = most * (1 + FULL) / 2
    quality, best = QUALITY, b""
    for _ in range(TRIES):
        size = rounded(job, quality, None).count_bytes()
        moved = _within(quality + (goal - size) * step)
        if abs(size - goal) <= most - goal or moved == quality:
            break
        quality = moved
    for _ in range(TRIES):
        data = file_of(job, rounded(job, quality))
        if len(best) < len(data) <= most:
            best = data
        moved = _within(quality + (goal - len(data)) * step)
        if FULL * most <= len(data) <= most or moved == quality:
            break
        quality = moved
    if not best:
        raise ValueError(f"expected at least {len(data)} bytes for {count} sites, got {most}")
    return best


def _of_psnr(job: Job, least: float) -> bytes:
    """The least quality, to about 0.2 dB, whose picture is as good; the finest if there is none."""
    whole = picture_psnr(job, _own_range(job))
    if whole <= least:
        warnings.warn(
            f"expected a PSNR below {whole:.2f} dB, which is what {job.sites.num_sites} sites have "
            f"before they are rounded, got {least:g}",
            stacklevel=4,
        )
        return file_of(job, rounded(job, FINEST))
    low, high, best = -LARGEST, LARGEST, b""
    quality = _quality_of_loss(whole - least)
    while high - low > 0.2:
        data = file_of(job, rounded(job, quality))
        loss = whole - picture_psnr(job, decode(data, max_pixels=None)[0])
        if loss <= whole - least:
            best, high = data, quality
        else:
            low = quality
        # what is lost in dB falls by 6 dB a factor of four of the noise, or by bisection
        guess = quality + _quality_of_loss(whole - least) - _quality_of_loss(loss)
        quality = guess if low < guess < high else (low + high) / 2
        if best and loss > 0.9 * (whole - least):
            break
    return best


def _quality_of_loss(loss: float) -> float:
    """About the quality that loses so many dB: noise a quarter of what the quality allows."""
    noise = 10 ** (max(loss, 1e-3) / 10) - 1
    return _within(-10 * math.log10(4 * noise))


def picture_psnr(job: Job, sites: Sites) -> float:
    """PSNR of sites with colours in the target's range, on their exact lists; all pixels alike."""
    target, color = job.target, job.value_range.to_unit(sites.color)
    unit, frame = job.frame.enter(sites.replace(color=jax.device_put(color))), job.frame
    near = unknown_lists(frame.canvas, unit, target.mesh)
    lists = find_candidates(unit, frame.canvas, near=near, implementation=target.backend)
    drawn = render(unit, lists, implementation=target.backend)
    whole = drawn, target.picture(frame.canvas.grid)
    pictures = (shrunk(frame.crop(picture), target.samples) for picture in whole)
    return float(mse_to_psnr(_mean_square(*pictures)))


@jax.jit
def _mean_square(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean((a - b) ** 2)


def _own_range(job: Job) -> Sites:
    return job.sites.replace(color=jax.device_put(job.value_range.from_unit(job.sites.color)))


def _within(quality: float) -> float:
    return min(max(quality, -LARGEST), LARGEST)
