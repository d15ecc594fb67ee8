"""Other codecs at a given number of bytes: the best quality setting whose file is no larger.

JPEG, WebP and AVIF are Pillow's, JPEG XL is imagecodecs'; each with its slower settings, and where
colours may be kept at half resolution or not, the better of both.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image

from sad_jax.metrics import psnr, ssim

Encode = Callable[[Image.Image, int], bytes]


class Coded(NamedTuple):
    """A file of another codec: bytes, PSNR in dB and SSIM of its 8-bit picture, its settings."""

    bytes: int
    psnr: float
    ssim: float
    setting: str


def _pillow(form: str, **options) -> Encode:
    def encode(image: Image.Image, quality: int) -> bytes:
        stream = io.BytesIO()
        image.save(stream, form, quality=quality, **options)
        return stream.getvalue()

    return encode


def _jpeg_xl(image: Image.Image, quality: int) -> bytes:
    distance = 0.1 * 1.06 ** (100 - quality)  # Butteraugli's: 0.1 to 32
    return imagecodecs.jpegxl_encode(np.asarray(image), distance=distance, effort=7)


CODECS: dict[str, dict[str, Encode]] = {
    "jpeg": {
        "4:2:0": _pillow("JPEG", subsampling="4:2:0", optimize=True, progressive=True),
        "4:4:4": _pillow("JPEG", subsampling="4:4:4", optimize=True, progressive=True),
    },
    "webp": {"method 6": _pillow("WEBP", method=6)},
    "avif": {
        "4:2:0, speed 6": _pillow("AVIF", subsampling="4:2:0", speed=6),
        "4:4:4, speed 6": _pillow("AVIF", subsampling="4:4:4", speed=6),
    },
    "jxl": {"effort 7": _jpeg_xl},
}


def best_of(codec: str, photo: np.ndarray, most_bytes: int) -> Coded | None:
    """The best picture of a codec in so many bytes; None if even its worst takes more.

    Args:
      codec: of ``CODECS``.
      photo: float32[H, W, 3] of whole 255ths.
      most_bytes: of the file.
    """
    image = Image.fromarray(np.rint(photo * 255).astype(np.uint8))
    found = []
    for setting, encode in CODECS[codec].items():
        low, high, best = 0, 101, None
        while high - low > 1:
            quality = (low + high) // 2
            data = encode(image, quality)
            if len(data) <= most_bytes:
                low, best = quality, data
            else:
                high = quality
        if best is not None:
            found.append(_measured(best, codec, photo, f"{setting}, quality {low}"))
    return max(found, key=lambda coded: coded.psnr, default=None)


def _measured(data: bytes, codec: str, photo: np.ndarray, setting: str) -> Coded:
    if codec == "jxl":
        values = imagecodecs.jpegxl_decode(data)
    else:
        values = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    picture = values.astype(np.float32) / 255
    return Coded(len(data), psnr(picture, photo), ssim(picture, photo), setting)
