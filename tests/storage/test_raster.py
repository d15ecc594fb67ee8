"""Pillow's formats: few bits, alpha, inks, and what would lose bits."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from experiments.formats.synthetic import read

RNG = np.random.default_rng(8)


def bmp(pixels: bytes, width: int, height: int, bits: int, masks: tuple[int, ...] = ()) -> bytes:
    """A BMP from the standard, bottom up, with masks if it has some (version 4)."""
    size = 108 if masks else 40
    head = struct.pack(
        "<IiiHHIIiiII", size, width, height, 1, bits, 3 * bool(masks), len(pixels), 0, 0, 0, 0
    )
    head += b"".join(struct.pack("<I", mask) for mask in masks)
    head = head.ljust(size, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + size + len(pixels), 0, 0, 14 + size) + head + pixels


@pytest.mark.parametrize("bits", [(5, 5, 5), (5, 6, 5)])
def test_bmp_of_16_bits_a_pixel_is_exact(tmp_path, bits):
    top = np.array([2**bit - 1 for bit in bits])
    samples = RNG.integers(0, top + 1, (6, 8, 3))
    shifts = [bits[1] + bits[2], bits[2], 0]
    packed = (samples << shifts).sum(axis=2).astype("<u2")[::-1].tobytes()
    masks = (*(int(t) << s for t, s in zip(top, shifts, strict=True)), 0)
    data = bmp(packed, 8, 6, 16, () if bits == (5, 5, 5) else masks)
    np.testing.assert_allclose(read(tmp_path, data), samples / top, rtol=1e-6)


def test_bmp_with_a_mask_of_alpha(tmp_path):
    rgba = RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    data = bmp(pixels, 8, 6, 32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    np.testing.assert_allclose(read(tmp_path, data), rgba / 255, rtol=1e-6)


def test_tga_of_15_bits_is_exact(tmp_path):
    samples = RNG.integers(0, 32, (6, 8, 3))
    packed = (samples << [10, 5, 0]).sum(axis=2).astype("<u2").tobytes()
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 8, 6, 16, 0x20)
    image = read(tmp_path, head + packed)
    np.testing.assert_allclose(image[..., :3], samples / 31, rtol=1e-6)


@pytest.mark.parametrize("gray", [False, True])
def test_gif_transparency_is_alpha(tmp_path, gray):
    index = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
    index[0, 0], index[5, 7] = 0, 255
    palette = np.arange(256).repeat(3) if gray else RNG.integers(0, 256, 768)
    picture = Image.fromarray(index)
    picture.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "GIF", transparency=int(index[3, 4]), optimize=False)
    image = read(tmp_path, buffer.getvalue())
    opaque = index != index[3, 4]
    assert image.shape[2] in ((2, 4) if gray else (4,))
    np.testing.assert_array_equal(image[..., -1], opaque)
    colors = palette.reshape(256, 3)[index][..., : image.shape[2] - 1]
    np.testing.assert_allclose(image[..., :-1], colors / 255, rtol=1e-6)


@pytest.mark.parametrize("transform", ["CMYK", "YCCK"])
def test_cmyk_jpeg_is_inverted_as_adobe_does(tmp_path, transform):
    imagecodecs = pytest.importorskip("imagecodecs")
    ink = (np.mgrid[:16, :32].sum(0)[..., None] * [1, 2, 3, 1]).astype(np.uint8)
    data = imagecodecs.jpeg_encode(
        255 - ink, level=100, colorspace="CMYK", outcolorspace=transform, subsampling="444"
    )
    expected = (1 - ink[..., :3] / 255) * (1 - ink[..., 3:] / 255)
    np.testing.assert_allclose(read(tmp_path, data), expected, atol=4 / 255)


def test_xbm_and_xpm(tmp_path):
    bits = b"#define a_width 8\n#define a_height 2\nstatic char a_bits[] = {\n0x0f, 0x01};\n"
    image = read(tmp_path, bits)
    np.testing.assert_array_equal(image[..., 0], [[0] * 4 + [1] * 4, [0] + [1] * 7])  # ink is black
    text = b'/* XPM */\nstatic char *a[] = {\n"2 2 2 1",\n"a c #ff0000",\n"b c #0080ff",\n'
    image = read(tmp_path, text + b'"ab",\n"ba"\n};\n')
    np.testing.assert_allclose(image[0], [[1, 0, 0], [0, 128 / 255, 1]], rtol=1e-6)


def dds(fourcc: bytes, blocks: bytes, caps: int = 0, extension: bytes = b"") -> bytes:
    head = struct.pack("<4s7I44x", b"DDS ", 124, 0x1007, 4, 4, 0, 0, 0)
    head += struct.pack("<2I4s20x", 32, 4, fourcc) + struct.pack("<5I", 0x1000, caps, 0, 0, 0)
    return head + extension + blocks


def test_dds_of_one_color(tmp_path):
    block = struct.pack("<HHI", 0xF800, 0x001F, 0)  # red and blue; all pixels take the first
    image = read(tmp_path, dds(b"DXT1", block))
    np.testing.assert_allclose(image, np.full((4, 4, 4), [1, 0, 0, 1]), rtol=1e-6)


def test_dds_of_several_pictures_is_told(tmp_path):
    block = struct.pack("<HHI", 0xF800, 0x001F, 0)
    with pytest.warns(UserWarning, match="got 6 of which the first"):
        read(tmp_path, dds(b"DXT1", block * 6, caps=0x200))


def sgi(bits: int) -> bytes:
    head = struct.pack(">HBBHHHH", 474, 0, bits // 8, 3, 5, 4, 3).ljust(512, b"\0")
    return head + bytes(5 * 4 * 3 * bits // 8)


CUT = {
    "SGI of more than 8 bits": sgi(16),
    "DDS of more than 8 bits": dds(
        b"DX10", bytes(16), extension=struct.pack("<5I", 95, 3, 0, 1, 0)
    ),
}


@pytest.mark.parametrize("reason", CUT)
def test_what_pillow_would_cut_to_8_bits_is_refused(tmp_path, reason):
    with pytest.raises(ValueError, match=f"^expected a whole picture .* got {reason}"):
        read(tmp_path, CUT[reason])
    assert read(tmp_path, sgi(8)).shape == (4, 5, 3)


def test_a_broken_file_of_a_known_format_is_named(tmp_path):
    with pytest.raises(ValueError, match="bytes of PSD, broken or of a kind that is not read"):
        read(tmp_path, b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 16, 3) + bytes(99))
