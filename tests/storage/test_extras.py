"""Radiance, HEIF and OpenEXR, and the error where a library is missing."""

import io
import sys

import numpy as np
import pytest

from experiments.formats.synthetic import read
from sad_jax.storage.pictures import read_image

RNG = np.random.default_rng(10)


@pytest.mark.parametrize(
    ("module", "data"),
    [
        ("OpenEXR", b"\x76\x2f\x31\x01" + bytes(99)),
        ("pillow_heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)),
    ],
)
def test_a_missing_library_is_named(tmp_path, monkeypatch, module, data):
    monkeypatch.setitem(sys.modules, module, None)
    said = r"^expected a whole picture .* for which: pip install 'sad-jax\[formats\]': .*a\.any$"
    with pytest.raises(ValueError, match=said):
        read(tmp_path, data)


@pytest.mark.parametrize("head", [b"+Y 4 +X 4", b"-Y 4 -X 4", b"+X 4 -Y 4"])
def test_radiance_that_is_turned_is_refused(tmp_path, head):
    data = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + head + b"\n" + bytes(64)
    with pytest.raises(ValueError, match="Radiance that is turned"):
        read(tmp_path, data)


def test_exposure_of_radiance_is_told(tmp_path):
    data = (
        b"#?RADIANCE\nEXPOSURE=2.0\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n" + b"\x80\x40\x20\x80" * 4
    )
    with pytest.warns(UserWarning, match="exposure"):
        image = read(tmp_path, data)
    np.testing.assert_allclose(image, np.full((2, 2, 3), [0.5, 0.25, 0.125]), atol=1 / 256)


@pytest.mark.parametrize("names", ["RGB", "RGBA", "Y", "YA", "UVWXZ"])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_exr(tmp_path, names, dtype):
    exr = pytest.importorskip("OpenEXR")
    planes = {name: RNG.uniform(0.1, 0.5, (7, 9)).astype(dtype) for name in names}
    if "A" in names:
        planes["A"] += np.array(0.5, dtype)
    with exr.File({"type": exr.scanlineimage}, dict(planes)) as file:
        file.write(str(tmp_path / "a.exr"))
    image = read_image(tmp_path / "a.exr")
    expected = np.stack([planes_of(planes, name) for name in names], axis=2)
    if "A" in names:
        expected[..., :-1] /= expected[..., -1:]  # OpenEXR's alpha is always associated
    np.testing.assert_allclose(image, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="expected at most 9 pixels"):
        read_image(tmp_path / "a.exr", max_pixels=9)


def planes_of(planes, name: str) -> np.ndarray:
    """OpenEXR puts its own objects into the dict that it is given."""
    plane = planes[name]
    return np.asarray(getattr(plane, "pixels", plane), np.float32)


def test_parts_and_other_channels_of_exr_are_told(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    planes = {name: np.full((7, 9), 0.5, np.float32) for name in ("R", "G", "B", "depth.Z")}
    exr.File([exr.Part({}, planes), exr.Part({}, {"Z": np.ones((7, 9), np.float32)})]).write(
        str(tmp_path / "a.exr")
    )
    with (
        pytest.warns(UserWarning, match=r"expected channels RGB, got also depth\.Z, not read"),
        pytest.warns(UserWarning, match="got 2 of which the first"),
    ):
        read_image(tmp_path / "a.exr")


def heif_of(mode: str, samples: np.ndarray) -> bytes:
    """Without loss, by pillow_heif."""
    heif, buffer = pytest.importorskip("pillow_heif"), io.BytesIO()
    picture = heif.from_bytes(mode, samples.shape[1::-1], samples.tobytes())
    picture.save(buffer, quality=-1, chroma=444, matrix_coefficients=0)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_heif_of_8_bits_without_loss(tmp_path, channels):
    samples = RNG.integers(0, 256, (64, 66, channels), dtype=np.uint8)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    data = heif_of(mode, samples)
    np.testing.assert_allclose(read(tmp_path, data), samples / 255, rtol=1e-6)
    with pytest.raises(ValueError, match="expected at most 9 pixels, got 66x64"):
        read_image(tmp_path / "a.any", max_pixels=9)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_heif_of_10_bits_keeps_them(tmp_path, channels):
    samples = RNG.integers(0, 1024, (64, 66, channels), dtype=np.uint16)
    mode = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
    data = heif_of(mode, (samples << 6))
    np.testing.assert_allclose(read(tmp_path, data), samples / 1023, atol=1e-6)


def test_further_pictures_of_heif_are_told(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_bytes("L", (64, 64), bytes(64 * 64))
    file.add_frombytes("L", (64, 64), bytes(64 * 64))
    buffer = io.BytesIO()
    file.save(buffer)
    with pytest.warns(UserWarning, match="got 2 of which the first"):
        read(tmp_path, buffer.getvalue())
