"""Pictures that come in bands: other programs read what was written."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from sad_jax.storage import bands
from sad_jax.storage.bands import in_strips
from sad_jax.storage.pictures import read_image, write_bands, write_image

RNG = np.random.default_rng(5)


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    """Waves, on which all filters of PNG have their rows, and a row of noise."""
    y, x, c = np.mgrid[:height, :width, :channels].astype(np.float32)
    image = 0.5 + 0.4 * np.sin(x / 5 + c) * np.cos(y / 7)
    image[height // 2] = RNG.random((width, channels))
    image[: height // 3] = image[:1]
    return image


def parts(image: np.ndarray, rows: int) -> list[np.ndarray]:
    return [image[top : top + rows] for top in range(0, len(image), rows)]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(tmp_path, channels, bits):
    image = smooth(23, 19, channels)
    write_bands(tmp_path / "a.png", image.shape, parts(image, 5), bits=bits)
    found = imagecodecs.png_decode((tmp_path / "a.png").read_bytes())
    expected = np.floor(image.astype(float) * (2**bits - 1) + 0.5)
    assert found.dtype == f"u{bits // 8}"
    np.testing.assert_array_equal(found.reshape(image.shape), expected)
    write_image(tmp_path / "b.png", image, bits=bits)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (300, 1, 4)])
def test_thin_pngs(tmp_path, shape):
    image = RNG.random(shape, np.float32)
    write_bands(tmp_path / "a.png", shape, parts(image, 7))
    found = imagecodecs.png_decode((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(found.reshape(shape), np.rint(image * 255))


@pytest.mark.parametrize(
    ("channels", "bits", "kind"),
    [(1, None, "u1"), (2, 16, "u2"), (3, 16, "u2"), (4, 8, "u1"), (5, None, "f4"), (31, 16, "u2")],
)
def test_tiff(tmp_path, monkeypatch, channels, bits, kind):
    monkeypatch.setattr(bands, "STRIP", 700)
    image = smooth(37, 21, channels)
    write_bands(tmp_path / "a.tif", image.shape, parts(image, 10), bits=bits)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page, found = file.pages[0], file.asarray()
    assert found.dtype == kind
    assert len(page.dataoffsets) == -(-37 // page.rowsperstrip) > 1
    largest = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    expected = image if kind == "f4" else np.floor(image.astype(float) * largest + 0.5)
    np.testing.assert_array_equal(found.reshape(image.shape), expected)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), image, atol=0.51 / largest)


def test_tiff_of_floats_keeps_any_value(tmp_path):
    image = RNG.normal(size=(4, 5, 3)).astype(np.float32) * 100
    write_image(tmp_path / "a.tif", image, bits=32)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


def test_a_large_tiff_is_a_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(bands, "LARGEST_TIFF", 10)
    image = smooth(6, 7, 3)
    write_bands(tmp_path / "a.tif", image.shape, [image])
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0"
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), image, atol=0.51 / 255)


def test_npy_and_formats_that_need_the_whole_picture(tmp_path):
    image = smooth(12, 9, 7)
    write_bands(tmp_path / "a.npy", image.shape, parts(image, 5))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), image)
    write_bands(tmp_path / "a.bmp", (12, 9, 3), parts(image[..., :3], 5))
    np.testing.assert_allclose(read_image(tmp_path / "a.bmp"), image[..., :3], atol=0.51 / 255)


@pytest.mark.parametrize("rows", [1, 3, 4, 12, 50])
def test_strips_are_the_same_picture(rows):
    image = RNG.random((12, 2, 1))
    strips = list(in_strips(parts(image, 5), rows))
    np.testing.assert_array_equal(np.concatenate(strips), image)
    assert [len(strip) for strip in strips[:-1]] == [rows] * (len(strips) - 1)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_bands_that_fail_leave_the_old_file(tmp_path, name):
    def failing():
        yield smooth(5, 4, 3)
        raise RuntimeError("expected more")

    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(RuntimeError, match="expected more"):
        write_bands(tmp_path / name, (10, 4, 3), failing())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("name", "channels", "bits", "expected"),
    [
        ("a.png", 3, 32, "expected 8 or 16 bits for PNG, got 32"),
        ("a.jpg", 3, 16, "expected 8 bits for JPEG, got 16"),
        ("a.npy", 3, 8, "expected 32 bits for npy, got 8"),
        ("a.png", 5, None, "expected 1 to 4 channels .or .npy or .tif., got 5"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_the_work(
    tmp_path, name, channels, bits, expected
):
    def none():
        raise AssertionError("drawn")
        yield

    with pytest.raises(ValueError, match=expected):
        write_bands(tmp_path / name, (4, 4, channels), none(), bits=bits)
    assert not list(tmp_path.iterdir())
