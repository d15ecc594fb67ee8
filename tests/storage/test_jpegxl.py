"""JPEG XL: its header; the values of plain files are in test_reading."""

import numpy as np
import pytest

from sad_jax.storage.jpegxl import _codestream, _parse
from sad_jax.storage.pictures import read_image

imagecodecs = pytest.importorskip("imagecodecs")
RNG = np.random.default_rng(12)


@pytest.mark.parametrize(
    "size", [(8, 8), (16, 24), (7, 9), (600, 2), (256, 256), (240, 320), (9, 8), (90, 160)]
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_size_is_known_from_the_header(size, channels):
    data = imagecodecs.jpegxl_encode(np.zeros((*size, channels), np.uint8), effort=1)
    header = _parse(_codestream(data))
    assert (header.height, header.width) == size
    assert header.bits == 8
    assert header.srgb


@pytest.mark.parametrize("container", [False, True])
def test_the_limit_is_checked_before_decoding(tmp_path, container):
    data = imagecodecs.jpegxl_encode(np.zeros((300, 400), np.uint8), usecontainer=container)
    (tmp_path / "a.jxl").write_bytes(data)
    assert read_image(tmp_path / "a.jxl").shape == (300, 400, 1)
    with pytest.raises(ValueError, match="expected at most 99 pixels, got 400x300"):
        read_image(tmp_path / "a.jxl", max_pixels=99)


def test_an_animation_is_told(tmp_path):
    frames = RNG.integers(0, 256, (3, 9, 8, 3), dtype=np.uint8)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(frames, lossless=True))
    with pytest.warns(UserWarning, match="got an animation of which the first frame is read"):
        image = read_image(tmp_path / "a.jxl")
    np.testing.assert_allclose(image, frames[0] / 255, rtol=1e-6)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_bits_between_8_and_16_are_exact(tmp_path, bits):
    samples = RNG.integers(0, 2**bits, (9, 8), dtype=np.uint16)
    data = imagecodecs.jpegxl_encode(samples, lossless=True, bitspersample=bits)
    (tmp_path / "a.jxl").write_bytes(data)
    with pytest.warns(UserWarning, match="other colours"):  # it declares linear light
        image = read_image(tmp_path / "a.jxl")
    np.testing.assert_allclose(image[..., 0], samples / (2**bits - 1), atol=1e-7)
