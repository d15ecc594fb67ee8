"""Rows that are read on their own are those of the whole picture, in every layout."""

import numpy as np
import pytest
import tifffile

import sad_jax as sad
from sad_jax.storage.strips import open_image

RNG = np.random.default_rng(3)


def tiff(path, shape=(37, 45, 3), dtype=np.uint16, **options):
    high = 255 if dtype == np.uint8 else 65535
    array = RNG.integers(0, high + 1, shape).astype(dtype)
    tifffile.imwrite(path, array, **options)
    return path


LAYOUTS = {
    "one strip": {"photometric": "rgb"},
    "strips": {"photometric": "rgb", "rowsperstrip": 8, "compression": "zlib"},
    "differences": {"photometric": "rgb", "rowsperstrip": 5, "compression": "zlib", "predictor": 2},
    "tiles": {"photometric": "rgb", "tile": (16, 16), "compression": "lzw"},
    "big": {"photometric": "rgb", "rowsperstrip": 8, "bigtiff": True, "byteorder": ">"},
    "planes": {"photometric": "minisblack", "planarconfig": "separate", "shape": (5, 37, 45)},
    "tiled planes": {
        "photometric": "minisblack",
        "planarconfig": "separate",
        "tile": (16, 16),
        "compression": "zlib",
        "shape": (5, 37, 45),
    },
    "min is white": {"photometric": "miniswhite", "rowsperstrip": 4, "shape": (37, 45)},
    "floats": {"photometric": "rgb", "dtype": np.float32, "compression": "zlib"},
    "bits": {"photometric": "minisblack", "dtype": bool, "shape": (37, 45), "rowsperstrip": 3},
}


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_rows_of_a_tiff(tmp_path, options):
    options = dict(options)
    shape, dtype = options.pop("shape", (37, 45, 3)), options.pop("dtype", np.uint16)
    path = tiff(tmp_path / "a.tif", shape, dtype, **options)
    whole, file = sad.read_image(path), open_image(path)
    assert file.shape == whole.shape
    for first, end in ((0, 37), (0, 1), (36, 37), (7, 9), (15, 33)):
        np.testing.assert_array_equal(file.rows(first, end), whole[first:end])


@pytest.mark.parametrize("name", ["a.npy", "b.npy", "a.png"])
def test_rows_of_other_formats(tmp_path, name):
    if name == "b.npy":
        np.save(tmp_path / name, RNG.integers(0, 256, (9, 5)).astype(np.uint8))
    else:
        sad.write_image(tmp_path / name, RNG.random((9, 5, 3)))
    whole, file = sad.read_image(tmp_path / name), open_image(tmp_path / name)
    assert file.shape == whole.shape
    np.testing.assert_array_equal(file.rows(3, 8), whole[3:8])


def test_a_picture_above_the_limit_is_read_in_parts(tmp_path):
    for name in ("a.tif", "a.npy"):
        sad.write_image(tmp_path / name, RNG.random((40, 50, 3)))
        file = open_image(tmp_path / name, max_pixels=500)
        assert file.rows(30, 40).shape == (10, 50, 3)
        with pytest.raises(ValueError, match="expected at most 500 pixels, got 50x11"):
            file.rows(29, 40)


def test_what_cannot_be_read_in_rows_is_told(tmp_path):
    path = tiff(tmp_path / "a.tif", rowsperstrip=8, photometric="rgb")
    for rows in ((0, 0), (-1, 2), (3, 38), (0.5, 2)):
        with pytest.raises(ValueError, match="expected rows within 0 to 37, got"):
            open_image(path).rows(*rows)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="got a truncated TIFF"):
        open_image(path)
    turned = tiff(tmp_path / "b.tif", photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(ValueError, match="turned by 6, whose rows are not in its strips"):
        open_image(turned)
    (tmp_path / "empty.tif").touch()
    with pytest.raises(ValueError, match="got an empty file"):
        open_image(tmp_path / "empty.tif")
    with pytest.raises(ValueError, match="got a directory"):
        open_image(tmp_path)
    with pytest.raises(FileNotFoundError, match="got no such file"):
        open_image(tmp_path / "none.tif")
