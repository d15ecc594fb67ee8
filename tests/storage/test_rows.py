"""Zarr arrays, and pictures that are read a few rows at a time."""

import tracemalloc
import warnings

import numpy as np
import pytest
import tifffile

import sad_jax as sad
from sad_jax.storage import pictures, rows

zarr = pytest.importorskip("zarr")
RNG = np.random.default_rng(5)


def whole_numbers(shape, dtype):
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def zarr_of(path, array, **options):
    zarr.create_array(path, data=array, **options)
    return path


ARRAYS = {
    "gray": (whole_numbers((37, 45), np.uint8), {"chunks": (7, 45)}),
    "one channel": (whole_numbers((9, 5, 1), np.uint16), {"chunks": (4, 3, 1)}),
    "bands": (RNG.normal(size=(11, 13, 31)).astype(np.float32), {"chunks": (5, 13, 10)}),
    "version 2": (whole_numbers((7, 4, 3), np.uint16), {"chunks": (2, 3, 3), "zarr_format": 2}),
    "shards": (whole_numbers((24, 16, 4), np.uint8), {"chunks": (4, 8, 4), "shards": (12, 16, 4)}),
    "doubles": (RNG.uniform(size=(2, 3, 2)), {}),
    "bits": (RNG.uniform(size=(5, 6)) > 0.5, {}),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_zarr_array_is_read_in_every_form(tmp_path, monkeypatch, name):
    array, options = ARRAYS[name]
    path = zarr_of(tmp_path / "picture.zarr", array, **options)
    largest = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    expected = (np.atleast_3d(array) / np.float64(largest)).astype(np.float32)
    np.testing.assert_allclose(sad.read_image(path), expected, rtol=1e-7)
    monkeypatch.setattr(pictures, "BAND", 100)
    whole = sad.read_image(path)
    np.testing.assert_allclose(whole, expected, rtol=1e-7)
    file = sad.open_image(path)
    assert file.shape == expected.shape
    for first, end in ((0, 1), (len(array) - 1, len(array)), (0, len(array))):
        np.testing.assert_array_equal(file.rows(first, end), whole[first:end])


def test_what_is_no_picture_in_zarr_is_told_in_one_line(tmp_path, monkeypatch):
    group = zarr.create_group(tmp_path / "group.zarr")
    group.create_array("0", data=np.full((4, 5), 7, np.uint8))
    for number, (array, reason) in enumerate(
        [
            (np.zeros(3, np.uint8), r"expected a whole picture .* got shape \(3,\)"),
            (np.zeros((2, 3, 4, 5), np.uint8), r"got shape \(2, 3, 4, 5\)"),
            (np.zeros((3, 4), np.int16), "expected float or unsigned values, got int16"),
            (np.full((3, 4), np.nan), "expected finite values, got 12 NaN"),
            (np.zeros((1, 4), np.uint8), "expected at least 2 pixels a side, got 4x1"),
        ]
    ):
        path = zarr_of(tmp_path / f"{number}.zarr", array)
        with pytest.raises(ValueError, match=rf"^[^\n]*{reason}.*{number}\.zarr$"):
            sad.read_image(path)
    with pytest.raises(ValueError, match=r"got a zarr group, of whose arrays \(0\) one must be"):
        sad.read_image(tmp_path / "group.zarr")
    assert sad.read_image(tmp_path / "group.zarr" / "0").shape == (4, 5, 1)
    with pytest.raises(ValueError, match="expected at most 19 pixels, got 5x4"):
        sad.read_image(tmp_path / "group.zarr" / "0", max_pixels=19)
    (chunk,) = (p for p in (tmp_path / "group.zarr" / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"\x28\xb5\x2f\xfd broken")
    with pytest.raises(ValueError, match=r"^expected a whole picture [^\n]*$"):
        sad.read_image(tmp_path / "group.zarr" / "0")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="expected a picture, got a directory"):
        sad.read_image(tmp_path / "empty.zarr")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(rows.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"got a zarr, for which: pip install 'sad-jax\[zarr\]'"):
        sad.open_image(tmp_path / "0.zarr")


@pytest.mark.parametrize("form", ["tif", "npy", "zarr"])
def test_there_is_little_in_memory_beside_the_picture(tmp_path, monkeypatch, form):
    """Neither the file's bytes, nor its samples, nor a second picture."""
    array, path = whole_numbers((700, 301, 3), np.uint16), tmp_path / f"a.{form}"
    if form == "tif":
        tifffile.imwrite(path, array, photometric="rgb", rowsperstrip=9, compression="zlib")
    elif form == "npy":
        np.save(path, array.astype(">u2"))
    else:
        zarr_of(path, array, chunks=(50, 301, 3))
    monkeypatch.setattr(pictures, "BAND", 2**15)
    sad.read_image(path)  # all is imported
    tracemalloc.start()
    image = sad.read_image(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(image, array / 65535, rtol=1e-6)
    assert image.nbytes <= peak < 1.35 * image.nbytes


def test_what_is_beside_the_picture_is_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "BAND", 50)
    options = {"photometric": "minisblack", "rowsperstrip": 2}
    tifffile.imwrite(tmp_path / "a.tif", whole_numbers((3, 9, 8), np.uint8), **options)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert sad.read_image(tmp_path / "a.tif").shape == (9, 8, 1)
    assert [str(w.message).partition(":")[0] for w in told] == [
        "expected one picture, got 3 of which the first is read"
    ]


def test_a_turned_tiff_is_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "BAND", 50)
    array = whole_numbers((9, 8, 3), np.uint8)
    turned = {"photometric": "rgb", "rowsperstrip": 2, "extratags": [(274, 3, 1, 6, True)]}
    tifffile.imwrite(tmp_path / "a.tif", array, **turned)
    expected = np.rot90(array, -1) / 255
    np.testing.assert_allclose(sad.read_image(tmp_path / "a.tif"), expected, rtol=1e-6)
