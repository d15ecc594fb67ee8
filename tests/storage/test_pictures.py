"""Pictures: what is read, what is refused, and what is written."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sad_jax.storage.atomic import read_bytes
from sad_jax.storage.pictures import check_image, read_image, to_uint8, write_image

RNG = np.random.default_rng(7)
PNG_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def png(array: np.ndarray) -> bytes:
    """A PNG of uint8 or uint16 [H, W, C], written from the standard and not by Pillow."""
    height, width, channels = array.shape
    depth = 8 * array.dtype.itemsize
    rows = [b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, PNG_COLOR_TYPE[channels], 0, 0, 0)
    body = zlib.compress(b"".join(rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def tiff(array: np.ndarray, order: str) -> bytes:
    """An uncompressed RGB TIFF of uint16 [H, W, 3] in the byte order "<" or ">"."""
    height, width, _ = array.shape
    body = array.astype(np.dtype("u2").newbyteorder(order)).tobytes()
    short, long = 3, 4
    tags = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 3, 8),  # bits a sample: three shorts at offset 8
        (259, long, 1, 1),
        (262, long, 1, 2),
        (273, long, 1, 14),  # the pixels' offset
        (277, long, 1, 3),
        (278, long, 1, height),
        (279, long, 1, len(body)),
    ]
    directory = struct.pack(order + "H", len(tags))
    directory += b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + b"\0" * 4
    magic = b"II" if order == "<" else b"MM"
    return (
        magic
        + struct.pack(order + "HI", 42, 14 + len(body))
        + struct.pack(order + "3H", 16, 16, 16)
        + body
        + directory
    )


def levels(height: int, width: int, channels: int, dtype=np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_every_bit_and_channel(tmp_path, channels, dtype):
    array = levels(5, 7, channels, dtype)
    path = tmp_path / "a.png"
    path.write_bytes(png(array))
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, array / np.iinfo(dtype).max, rtol=1e-7)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_keeps_its_bits(tmp_path, order):
    array = levels(5, 7, 3, np.uint16)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(array, order))
    np.testing.assert_allclose(read_image(path), array / 65535, rtol=1e-7)


def test_gray_with_alpha_keeps_both(tmp_path):
    array = levels(5, 7, 2)
    path = tmp_path / "a.png"
    path.write_bytes(png(array))
    np.testing.assert_allclose(read_image(path), array / 255, rtol=1e-7)


@pytest.mark.parametrize(("transparency", "channels"), [(None, 3), (0, 4)])
def test_palette_becomes_color(tmp_path, transparency, channels):
    indices = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    palette = levels(1, 4, 3)[0]
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    path = tmp_path / "a.png"
    picture.save(path, **({} if transparency is None else {"transparency": transparency}))
    image = read_image(path)
    assert image.shape == (5, 7, channels)
    np.testing.assert_allclose(image[..., :3], palette[indices] / 255, rtol=1e-7)
    if transparency is not None:
        np.testing.assert_array_equal(image[..., 3], indices != transparency)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("CMYK", 3)])
def test_other_modes(tmp_path, mode, channels):
    path = tmp_path / "a.tif"
    Image.new("RGB", (7, 5), "white").convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (5, 7, channels)
    np.testing.assert_allclose(image, 1.0, atol=2 / 255)


def test_jpeg_and_its_orientation(tmp_path):
    array = np.zeros((16, 32, 3), np.uint8)
    array[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn to the left
    path = tmp_path / "a.jpg"
    Image.fromarray(array).save(path, quality=95, exif=exif)
    image = read_image(path)
    assert image.shape == (32, 16, 3)
    assert image[:12].max() < 0.1
    assert image[20:].min() > 0.9


def test_float_tiff_and_npy(tmp_path):
    array = RNG.random((5, 7), np.float32)
    Image.fromarray(array).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff")[..., 0], array)
    many = RNG.random((5, 7, 9))
    np.save(tmp_path / "a.npy", many)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), many.astype(np.float32))


def saved(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def nan_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(buffer, "tiff")
    return buffer.getvalue()


WHOLE = png(RNG.integers(0, 256, (40, 30, 3), np.uint8))
BAD_FILES = {
    "empty file": b"",
    "of no known format": b"this is no picture",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "expected a whole picture": WHOLE[:1000] + bytes([WHOLE[1000] ^ 8]) + WHOLE[1001:],
    "got 9x1": png(levels(1, 9, 3)),
    "got 1x9": png(levels(9, 1, 3)),
    "16 NaN or infinite": nan_tiff(),
    "1 NaN or infinite": saved(np.array([[0.5, np.inf], [0.0, 1.0]])),
    r"got shape \(2,\)": saved(np.zeros(2)),
    r"got shape \(2, 2, 2, 2\)": saved(np.zeros((2, 2, 2, 2))),
    r"got shape \(0, 3\)": saved(np.zeros((0, 3))),
    "got int64": saved(np.zeros((3, 3), np.int64)),
    "got complex64": saved(np.zeros((3, 3), np.complex64)),
    r"values within 1e\+30, got 0 to 2e\+30": saved(np.linspace(0.0, 2e30, 9).reshape(3, 3)),
    "Python objects": saved(np.array([[{}, []]], object)),
    "whole picture": saved(np.zeros((9, 9)))[:-5],
}


@pytest.mark.parametrize("expected", BAD_FILES)
def test_bad_pictures_are_refused_in_one_line(tmp_path, expected):
    path = tmp_path / "bad.png"
    path.write_bytes(BAD_FILES[expected])
    with pytest.raises(ValueError, match=expected) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert str(error.value).startswith("expected ")
    assert "\n" not in str(error.value)


def test_no_file_and_a_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="got no such file"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="got a directory"):
        read_bytes(tmp_path, "a picture")


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1, 2), (3, 3, 7)])
def test_check_image_takes_any_size_and_channels(shape):
    image = check_image(RNG.random(shape))
    assert image.shape == (*shape, 1)[:3]
    assert image.dtype == np.float32


def test_check_image_scales_integers():
    for array in (np.uint8([[0, 255]]), np.uint16([[0, 65535]]), np.array([[False, True]])):
        np.testing.assert_array_equal(check_image(array), [[[0.0], [1.0]]])


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 2), (0, 255), (0, 1e4), (-1e30, 1e30)])
def test_floats_keep_their_range(tmp_path, low, high):
    array = np.linspace(low, high, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(check_image(array)[..., 0], array)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy")[..., 0], array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros((0, 4)),
        np.full((2, 2), np.nan),
        np.zeros((2, 2), int),
        "picture",
        None,
    ],
)
def test_check_image_refuses(array):
    with pytest.raises(ValueError, match=r"^expected .*got"):
        check_image(array)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_write_rounds_and_clips(tmp_path, channels):
    array = RNG.uniform(-0.2, 1.2, (6, 5, channels))
    with pytest.warns(UserWarning, match=r"values of -0\.\d+ to 1\.\d+ are clipped .*a\.png$"):
        write_image(tmp_path / "a.png", array)
    expected = np.floor(np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(to_uint8(array), expected)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture).reshape(expected.shape), expected)


def test_rounding_is_no_clipping(tmp_path):
    """Warnings are errors in tests."""
    write_image(tmp_path / "a.png", np.array([[-1e-3, 0.5], [1, 1 + 1e-3]]))
    write_image(tmp_path / "a.npy", np.array([[-1.0, 2.0]]))


def test_write_npy_keeps_floats(tmp_path):
    array = RNG.normal(size=(3, 4, 7)).astype(np.float32)
    write_image(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("a.nothing", np.zeros((2, 2)), "suffix"),
        ("a", np.zeros((2, 2)), "suffix"),
        ("a.png", np.zeros((2, 2, 7)), "1 to 4 channels"),
        ("a.jpg", np.zeros((2, 2, 4)), "JPEG"),
        ("a.png", np.full((2, 2), np.nan), "NaN"),
        ("a.png", np.zeros(2), "shape"),
    ],
)
def test_write_refuses_and_leaves_nothing(tmp_path, name, array, expected):
    with pytest.raises(ValueError, match=expected):
        write_image(tmp_path / name, array)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.bmp"])
def test_a_picture_is_written_and_read_in_parts_as_at_once(tmp_path, monkeypatch, name):
    image = RNG.random((9, 7, 3)).astype(np.float32)
    monkeypatch.setattr("sad_jax.storage.pictures.BAND", 50)
    write_image(tmp_path / name, image)
    expected = image if name == "a.npy" else np.rint(image * np.float32(255)) / 255
    np.testing.assert_allclose(read_image(tmp_path / name), expected, atol=1e-7)
