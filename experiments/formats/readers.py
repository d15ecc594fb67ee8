"""Other readers of picture files, each as a function of a path that gives float RGBA or raises."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

MAGICK = next(filter(None, map(shutil.which, ("/usr/bin/convert", "magick", "convert"))), None)


def as_rgba(image: np.ndarray) -> np.ndarray:
    """Gray, gray with alpha, RGB or RGBA as RGBA; colours under no alpha count as black."""
    image = np.atleast_3d(np.asarray(image, np.float64))
    channels = image.shape[2]
    if channels > 4:
        raise ValueError(f"{channels} channels")
    color = image[..., :1].repeat(3, axis=2) if channels < 3 else image[..., :3]
    alpha = image[..., -1:] if channels in (2, 4) else np.ones_like(image[..., :1])
    return np.concatenate([np.where(alpha > 0, color, 0), alpha], axis=2)


def imagemagick(path: Path) -> np.ndarray:
    """ImageMagick, the first picture, upright, in sRGB by the file's profile, 16 bits."""
    if MAGICK is None:
        raise ValueError("no ImageMagick")
    with tempfile.NamedTemporaryFile(suffix=".icc") as profile:
        profile.write(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        profile.flush()
        options = ["-auto-orient", "-colorspace", "sRGB", "-depth", "16", "-endian", "MSB"]
        options += ["-profile", profile.name, "-format", "%w %h\\n", "-write", "info:"]
        done = subprocess.run(
            [MAGICK, f"{path}[0]", *options, "RGBA:-"], capture_output=True, check=True, timeout=60
        ).stdout
    head, _, _ = done[:40].partition(b"\n")
    width, height = (int(word) for word in head.split()[:2])
    pixels = np.frombuffer(done[-width * height * 8 :], ">u2")
    return as_rgba(pixels.reshape(height, width, 4) / 65535)


def imagecodecs(path: Path) -> np.ndarray:
    """libpng, libjpeg-turbo, libwebp, libavif, libjxl and giflib by imagecodecs."""
    import imagecodecs as codecs

    decode = {
        ".png": codecs.png_decode,
        ".webp": codecs.webp_decode,
        ".avif": codecs.avif_decode,
        ".jpg": codecs.jpeg_decode,
        ".bmp": codecs.bmp_decode,
        ".qoi": codecs.qoi_decode,
    }[path.suffix.lower()]
    with Image.open(path) as picture:
        if picture.getexif().get(0x0112, 1) != 1 or "icc_profile" in picture.info:
            raise ValueError("neither orientation nor profiles are applied")
        if picture.mode == "CMYK":
            raise ValueError("CMYK is not converted")
    values = decode(path.read_bytes())
    return as_rgba(values / np.iinfo(values.dtype).max)


def imageio(path: Path) -> np.ndarray:
    """imageio v3, with the reader that it chooses itself."""
    from imageio import v3

    values = v3.imread(path, index=0)
    if values.dtype.kind != "f":
        values = values / (1 if values.dtype == bool else np.iinfo(values.dtype).max)
    return as_rgba(values)


READERS = {"imagemagick": imagemagick, "imagecodecs": imagecodecs, "imageio": imageio}
