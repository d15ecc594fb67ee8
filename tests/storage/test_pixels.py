"""All formats: the limit on pixels, and orientation."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from experiments.formats.synthetic import chunk, read, saved


def bomb(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel that promises much and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


LARGE = {
    "png": bomb(13000, 13000),
    "bmp": saved("BMP")[:18] + struct.pack("<ii", 20000, 20000) + saved("BMP")[26:],
    "gif": b"GIF89a" + struct.pack("<HH", 60000, 60000) + saved("GIF")[10:],
    "jpeg": saved("JPEG").replace(
        b"\xff\xc0\x00\x11\x08\x00\x07\x00\x09", b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff"
    ),
    "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0\xff\x3f\0" + bytes(9),
    "pgm": b"P5\n100000 100000\n255\n" + bytes(100),
    "pam": b"P7\nWIDTH 9\nHEIGHT 9\nDEPTH 99999999\nMAXVAL 1\nENDHDR\n" + bytes(99),
    "tga": saved("TGA")[:12] + struct.pack("<HH", 60000, 60000) + saved("TGA")[16:],
    "qoi": b"qoif" + struct.pack(">II", 99999, 99999) + saved("QOI")[12:],
    "npy": b"\x93NUMPY\1\0\x76\0"
    + b"{'descr':'|u1','fortran_order':False,'shape':(99999,99999)}".ljust(117)
    + b"\n",
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999 +X 99999\n" + bytes(99),
    "ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0"
    + struct.pack("<II", len(bomb(1, 1)), 22)
    + bomb(30000, 30000),
}


@pytest.mark.parametrize("form", LARGE)
def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path, form):
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=r"^expected at most 134217728 pixels, got .*max_pixels"
        ):
            read(tmp_path, LARGE[form], f"a.{form}")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "GIF", "WEBP", "PPM", "BMP"])
def test_the_limit_is_the_callers(tmp_path, form):
    data = saved(form)
    assert read(tmp_path, data, max_pixels=63).shape[:2] == (7, 9)
    with pytest.raises(ValueError, match="expected at most 62 pixels, got 9x7"):
        read(tmp_path, data, max_pixels=62)


def test_a_limit_above_pillows_own_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    for form in ("PNG", "JPEG", "BMP", "GIF", "TIFF"):
        assert read(tmp_path, saved(form)).shape[:2] == (7, 9)


def test_bands_count_against_the_limit(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((7, 9, 40), np.float32))
    assert read(tmp_path, buffer.getvalue(), max_pixels=630).shape == (7, 9, 40)
    with pytest.raises(ValueError, match="at most 629 pixels, got 9x7 of 40 channels"):
        read(tmp_path, buffer.getvalue(), max_pixels=629)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_orientation_is_honoured(tmp_path, form, orientation):
    array = np.zeros((32, 48, 3), np.uint8)
    array[:16, :16] = 255, 0, 0
    array[16:, 32:] = 0, 0, 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
    Image.fromarray(array).save(buffer, form, exif=exif, **options)
    turned = {  # EXIF's words for where row 0 and column 0 are
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),
        6: np.rot90(array, -1),
        7: np.rot90(array[:, ::-1], -1),
        8: np.rot90(array, 1),
    }[orientation]
    image = read(tmp_path, buffer.getvalue())
    assert image.shape == turned.shape
    inside = np.s_[4:-4:8, 4:-4:8]  # of JPEG's blocks
    np.testing.assert_allclose(image[inside], turned[inside] / 255, atol=0.1)


def test_orientation_in_text_of_a_png_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    body = (b"Exif\0\0" + exif.tobytes()[6:]).hex()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(body) // 2:8d}\n{body}\n", zip=True)
    buffer = io.BytesIO()
    Image.new("L", (9, 7)).save(buffer, "PNG", pnginfo=info)
    assert read(tmp_path, buffer.getvalue()).shape == (9, 7, 1)
