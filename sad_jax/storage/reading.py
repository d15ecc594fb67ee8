"""Bytes of a picture file as values: which reader takes them, by what they start with.

imageio is not the way in: of 16-bit colour in PNG it keeps 8 bits, it drops
profiles, further frames and the meaning of a TIFF's samples without a word, and it opens whatever
Pillow opens. What it stands on, Pillow and tifffile, is called directly, and imagecodecs where
these cut bits; `python -m experiments.formats.compare` counts both.
"""

from __future__ import annotations

import numpy as np

from sad_jax.storage import netpbm, png, tiff
from sad_jax.storage.pixels import finish
from sad_jax.storage.raster import read_raster
from sad_jax.storage.rows import NUMPY

SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("npy", "png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "tif", "tiff", "btf", "gif"),
        ("webp", "avif", "avifs", "heic", "heif", "hif", "jxl", "exr", "hdr", "bmp", "dib", "tga"),
        ("vda", "vst", "icb", "ico", "cur", "icns", "pbm", "pgm", "ppm", "pnm", "pam", "pfm"),
        ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "pcx", "dcx", "dds", "blp", "fli", "flc", "ftc"),
        ("ftu", "gbr", "msp", "psd", "qoi", "sgi", "rgb", "rgba", "bw", "ras", "xbm", "xpm"),
    )
    for name in names
)
_DRAWINGS = (b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF", b"\xd7\xcd\xc6\x9a", b"<svg", b"<?xm")


def decode(data: bytes, limit: int) -> tuple[np.ndarray, list[str]]:
    """The first picture in the bytes, and notes on what is in them and not in the values.

    Of all formats but those of ``rows.py``.

    Returns:
      float32[H, W, C].

    Raises:
      TooLargeError: above ``limit`` pixels.
      Exception: any other, if it is no whole picture.
    """
    if tiff.MAGIC.match(data) or data.startswith(NUMPY):
        raise ValueError("a TIFF or .npy from a pipe, which must be in a file")
    if data.lstrip()[:4].startswith(_DRAWINGS) or data[40:44] == b" EMF":
        raise ValueError("a drawing (PostScript, PDF, SVG, ...), which no raster format is")
    return finish(_reader(data)(data, limit))


def _reader(data: bytes):
    if data.startswith(png.MAGIC):
        return png.read_png
    if netpbm.MAGIC.match(data):
        return netpbm.read_netpbm
    from sad_jax.storage import extras

    return extras.reader(data) or read_raster
