"""AVIF and JPEG 2000: profiles and codes beside the values, which test_reading compares."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from experiments.formats.synthetic import read

imagecodecs = pytest.importorskip("imagecodecs")
RNG = np.random.default_rng(9)


def test_codes_of_other_colors_in_avif_are_told(tmp_path):
    samples = RNG.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    data = imagecodecs.avif_encode(samples, level=90)
    at = data.index(b"colrnclx") + 8
    quiet = read(tmp_path, data)
    hdr = data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :]
    with pytest.warns(UserWarning, match=r"got colours of codes 9, 16 \(nclx\), not converted"):
        assert read(tmp_path, hdr).shape == quiet.shape


def jp2(samples: np.ndarray, box: bytes = b"", **options) -> bytes:
    """A JP2 with another box of colours in place of its own."""
    data = imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, **options)
    at = data.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", data, at)
    head = data.index(b"jp2h") - 4
    (whole,) = struct.unpack_from(">I", data, head)
    if not box:
        return data
    box = struct.pack(">I", 4 + len(box)) + box
    body = data[:at] + box + data[at + length :]
    return body[:head] + struct.pack(">I", whole + len(box) - length) + body[head + 4 :]


@pytest.mark.parametrize("bits", [8, 12])
def test_a_profile_in_jpeg_2000_is_applied(tmp_path, bits):
    dtype = np.uint8 if bits == 8 else np.uint16
    samples = RNG.integers(0, 2**bits, (8, 9, 3)).astype(dtype)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = jp2(samples, b"colr\2\0\0" + srgb, bitspersample=bits)
    np.testing.assert_allclose(read(tmp_path, data), samples / (2**bits - 1), atol=1e-6)
    broken = jp2(samples, b"colr\2\0\0" + srgb[:99], bitspersample=bits)
    with pytest.warns(UserWarning, match="got a broken one, not applied"):
        read(tmp_path, broken)


@pytest.mark.parametrize("bits", [4, 8, 10, 16])
def test_gray_jpeg_2000_of_any_bits(tmp_path, bits):
    dtype = np.uint8 if bits <= 8 else np.uint16
    samples = RNG.integers(0, 2**bits, (8, 9)).astype(dtype)
    image = read(tmp_path, jp2(samples, bitspersample=bits))
    np.testing.assert_allclose(image[..., 0], samples / (2**bits - 1), atol=1e-6)


def test_ycc_of_other_bits_is_refused(tmp_path):
    samples = RNG.integers(0, 4096, (8, 9, 3)).astype(np.uint16)
    data = jp2(samples, b"colr\1\0\0" + struct.pack(">I", 18), bitspersample=12)
    with pytest.raises(ValueError, match="YCC values of other than 8 bits"):
        read(tmp_path, data)


def test_orientation_of_avif_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, "AVIF", exif=exif)
    assert read(tmp_path, buffer.getvalue()).shape == (9, 7, 3)
