"""TIFF: what its samples mean, and what is refused; the plain layouts are in test_reading."""

import io
import struct
from functools import partial

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter, imwrite

from experiments.formats.synthetic import read as read_file

read = partial(read_file, name="a.tif")

RNG = np.random.default_rng(6)


def written(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def patched(data: bytes, code: int, value: int) -> bytes:
    """A little-endian TIFF with another value, within the entry, of a tag that it has."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", data, entry)
        if tag == code:
            form = {3: "<H", 4: "<I"}[kind] if number == 1 else "<HH"
            body = struct.pack(form, *[value] * number)
            return data[: entry + 8] + body + data[entry + 8 + len(body) :]
    raise KeyError(code)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4"])
def test_signed_integers_are_scaled_by_their_largest_or_refused(tmp_path, dtype):
    top = np.iinfo(dtype).max
    image = read(tmp_path, written(np.array([[0, top], [1, 2]], dtype)))
    np.testing.assert_allclose(image[..., 0], [[0, 1], [1 / top, 2 / top]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"signed integers down to -3, where 0 is black: .*a\.tif"):
        read(tmp_path, written(np.array([[0, 1], [-3, 2]], dtype)))


REFUSED = {
    "complex numbers": written(np.zeros((3, 3), np.complex64)),
    r"0 to 2e\+30": written(np.linspace(0, 2e30, 9, dtype=np.float32).reshape(3, 3)),
    "1 NaN or infinite": written(np.array([[0.5, np.inf], [0, 1]], np.float32)),
    "a volume of 4 slices": written(
        np.zeros((4, 16, 16), np.uint8), volumetric=True, tile=(4, 16, 16), photometric="minisblack"
    ),
    "colours that are not read": written(np.zeros((4, 4), np.uint8), photometric="cfa"),
    "a TIFF of previews alone": written(np.zeros((4, 4), np.uint8), subfiletype=1),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_picture_is_refused(tmp_path, reason):
    with pytest.raises(ValueError, match=rf"^expected .* got .*{reason}.*a\.tif$"):
        read(tmp_path, REFUSED[reason])


def test_pages_that_run_in_a_circle_are_refused(tmp_path):
    data = bytearray(written(np.zeros((4, 4), np.uint8)))
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * count, at)
    with pytest.raises(ValueError, match="run in a circle"):
        read(tmp_path, bytes(data))


@pytest.mark.parametrize("code", [273, 279], ids=["offset", "count"])
def test_missing_pixels_are_refused_and_not_zeros(tmp_path, code):
    data = patched(written(np.ones((4, 4), np.uint8)), code, 0)
    with pytest.raises(ValueError, match="pixels are missing"):
        read(tmp_path, data)


def test_smaller_copies_are_skipped_and_no_frames(tmp_path):
    values = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    buffer = io.BytesIO()
    with TiffWriter(buffer) as file:
        file.write(values[::2, ::2], subfiletype=1, metadata=None)
        file.write(values, metadata=None)
        file.write(values[::4, ::4], subfiletype=1, metadata=None)
    np.testing.assert_allclose(read(tmp_path, buffer.getvalue())[..., 0], values / 255, rtol=1e-6)


def test_a_mask_beside_the_picture_is_told(tmp_path):
    values = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    buffer = io.BytesIO()
    with TiffWriter(buffer) as file:
        file.write(values, metadata=None)
        file.write(values > 99, subfiletype=4, photometric="mask", metadata=None)
    with pytest.warns(UserWarning, match="mask of transparency, not applied"):
        read(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("form", ["imagej", "shaped", "pages"])
def test_stacks_are_told(tmp_path, form):
    values = RNG.integers(0, 256, (5, 8, 8), dtype=np.uint8)
    buffer = io.BytesIO()
    options = {"imagej": {"imagej": True}, "pages": {"metadata": None}}.get(
        form, {"truncate": True}
    )
    imwrite(buffer, values, photometric="minisblack", **options)
    with pytest.warns(UserWarning, match="expected one picture, got 5 of which the first"):
        image = read(tmp_path, buffer.getvalue())
    np.testing.assert_allclose(image[..., 0], values[0] / 255, rtol=1e-6)


@pytest.mark.parametrize("spread", [256, 257])
def test_palettes_of_8_bits_are_found_out(tmp_path, spread):
    table = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    index = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    data = written(index, photometric="palette", colormap=table * np.uint16(spread))
    np.testing.assert_allclose(read(tmp_path, data), table.T[index] / 255, rtol=1e-6)


@pytest.mark.parametrize("compression", ["jpeg", "webp", "zstd", "lzma", "packbits", "jpegxl"])
def test_compressions(tmp_path, compression):
    smooth = np.mgrid[:24, :32].sum(0)[..., None] * [2, 3, 4]
    data = written(smooth.astype(np.uint8), photometric="rgb", compression=compression)
    np.testing.assert_allclose(read(tmp_path, data), smooth / 255, atol=0.03)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4"])
def test_pillow_s_files(tmp_path, compression):
    mode = "1" if compression == "group4" else "RGB"
    picture = Image.linear_gradient("L").resize((40, 30)).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", compression=compression)
    expected = np.asarray(picture).reshape(30, 40, -1) / (1 if mode == "1" else 255)
    np.testing.assert_allclose(read(tmp_path, buffer.getvalue()), expected, atol=0.02)


def test_ycbcr(tmp_path):
    values = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = written(values, photometric="ycbcr", subsampling=(1, 1))
    expected = np.asarray(Image.fromarray(values, "YCbCr").convert("RGB")) / 255
    np.testing.assert_allclose(read(tmp_path, data), expected, atol=1.5 / 255)


@pytest.mark.parametrize("shift", [False, True], ids=["cielab", "icclab"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_lab(tmp_path, dtype, shift):
    lab = np.array([[[0, 0, 0], [100, 0, 0]], [[54.29, 80.80, 69.89], [29.57, 68.30, -112.03]]])
    unit = 1 if dtype == "u1" else 256
    whole = (255 if dtype == "u1" else 0xFF00) if shift else np.iinfo(dtype).max
    stored = np.rint(lab * [whole / 100, unit, unit] + [0, 128 * unit * shift, 128 * unit * shift])
    data = written(stored.astype("i4").astype(dtype), photometric="icclab" if shift else "cielab")
    expected = [[[0, 0, 0], [1, 1, 1]], [[1, 0, 0], [0, 0, 1]]]  # of D50, by Lindbloom
    np.testing.assert_allclose(read(tmp_path, data), expected, atol=0.05 if unit == 1 else 5e-3)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("channels", [2, 4])
def test_associated_alpha_becomes_straight(tmp_path, dtype, channels):
    straight = RNG.random((5, 7, channels))
    straight[0, 0, -1] = 0
    stored = straight.copy()
    stored[..., :-1] *= stored[..., -1:]
    if dtype != "f4":
        stored = np.rint(stored * np.iinfo(dtype).max)
    photometric = "minisblack" if channels == 2 else "rgb"
    data = written(
        stored.astype(dtype),
        photometric=photometric,
        planarconfig="contig",
        extrasamples=["assocalpha"],
    )
    image = read(tmp_path, data)
    opaque = straight[..., -1] > 0.3
    np.testing.assert_allclose(image[opaque], straight[opaque], atol=2 / 255)
    assert not image[0, 0].any()
