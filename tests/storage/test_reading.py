"""All formats: layouts against other writers, refusals, frames, bytes that are cut off."""

import io
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image

from experiments.formats.synthetic import cases, saved
from experiments.formats.synthetic import png as png_of
from experiments.formats.synthetic import read as read_file
from sad_jax.storage.pictures import is_picture, read_image
from sad_jax.storage.reading import SUFFIXES

read = partial(read_file, name="a.png")

CASES = {name: case for name, *case in cases()}
RNG = np.random.default_rng(3)


@pytest.mark.parametrize("name", CASES)
def test_every_layout_is_read_as_it_was_written(tmp_path, name):
    data, values, tolerance = CASES[name]
    told = {"bmp_4.bmp": r"the last \(alpha\?\) not read"} | dict.fromkeys(
        (f"jpegxl_{channels}_16.jxl" for channels in (1, 3, 4)),
        "other colours",  # linear
    )
    if name in told:
        with pytest.warns(UserWarning, match=told[name]):
            image = read(tmp_path, data, name=name)
    else:
        image = read(tmp_path, data, name=name)
    assert image.dtype == np.float32
    assert image.shape == values.shape
    np.testing.assert_allclose(image, values, rtol=0, atol=tolerance)
    assert is_picture(tmp_path / name)


@pytest.mark.parametrize(
    "suffix", [".png", ".TIF", ".gif", ".exr", ".heic", ".jxl", ".pam", ".xpm"]
)
def test_suffixes_of_pictures(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    assert is_picture(path)


@pytest.mark.parametrize("name", ["a.eps", "a.pdf", "a.wmf", "a.txt", "a", ".a.png", "a.fits"])
def test_suffixes_of_others(tmp_path, name):
    (tmp_path / name).touch()
    assert not is_picture(tmp_path / name)
    assert (tmp_path / name).suffix not in SUFFIXES or name.startswith(".")


DRAWINGS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n9 9 scale showpage\n",
    "eps in a box": b"\xc5\xd0\xd3\xc6" + bytes(40),
    "pdf": b"%PDF-1.4\n",
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(40),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "svg after xml": b"<?xml version='1.0'?><svg/>",
}


@pytest.mark.parametrize("kind", DRAWINGS)
@pytest.mark.parametrize("suffix", ["png", "eps"])
def test_drawings_are_refused_and_start_no_program(tmp_path, monkeypatch, kind, suffix):
    def start(*_args, **_options):
        raise AssertionError("a program was started")

    for function in ("subprocess.Popen", "os.system", "os.posix_spawn"):
        monkeypatch.setattr(function, start)
    with pytest.raises(ValueError, match=r"^expected a whole picture .* got a drawing"):
        read(tmp_path, DRAWINGS[kind], name=f"a.{suffix}")


def frames(form: str, count: int, **options) -> bytes:
    buffer = io.BytesIO()
    first, *rest = (Image.new("RGB", (9, 7), (60 * i, 0, 200)) for i in range(count))
    first.save(buffer, form, save_all=True, append_images=rest, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_further_frames_are_told(tmp_path, form, count):
    data = frames(form, count, **({"lossless": True} if form == "WEBP" else {}))
    path = tmp_path / "a.any"
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        image = read_image(path)  # called here: the warning names its caller's file
    lines = [str(warning.message) for warning in told]
    of = f"expected one picture, got {count} of which the first is read: {path}"
    assert lines == ([of] if count > 1 else [])
    assert all(warning.filename == __file__ for warning in told)  # where the caller is
    np.testing.assert_allclose(image[..., :3], np.full((7, 9, 3), [0, 0, 200 / 255]), atol=0.03)


def test_a_default_picture_apart_from_its_animation_is_told(tmp_path):
    data = frames("PNG", 2, default_image=True)
    with pytest.warns(UserWarning, match="got 2 of which"):
        read(tmp_path, data)


@pytest.mark.parametrize("form", ["ICO", "ICNS"])
def test_the_largest_of_an_icon_is_read(tmp_path, form):
    data = saved(
        form, (64, 64), "RGBA", **({"sizes": [(16, 16), (32, 32)]} if form == "ICO" else {})
    )
    with pytest.warns(UserWarning, match=r"expected one picture, got \d+ of which the largest"):
        image = read(tmp_path, data)
    assert image.shape[0] >= 32


CUT = {
    name: CASES[name][0]
    for name in (
        *("png_2_16_plain.png", "png_3_4_trns_interlaced.png", "tiff_u2_3_contig_plain.tif"),
        *(
            "tiff_u1_3_separate_deflate.tif",
            "tiff_u2_4_contig_lzw.tif",
            "tiff_u1_3_contig_tiled.tif",
        ),
        *("netpbm_65535_bytes.ppm", "netpbm_255_text.pgm", "pam_255_RGB.pam", "floats_3_45.pfm"),
        *("jpeg2000_3_16.jp2", "jpegxl_3_16.jxl", "avif_3_10.avif", "avif_3_8.avif", "gif_1.gif"),
        *("radiance.hdr", "bmp_3.bmp", "tga_3.tga", "pcx_3.pcx", "sgi_3.sgi", "dds_3.dds"),
        *("webp_3.webp", "qoi_3.qoi", "jpeg_3.jpg", "bitmap.pbm"),
    )
}


@pytest.mark.parametrize("part", [0.999, 0.9, 0.5, 0.2])
@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_off_is_refused_in_one_line(tmp_path, name, part):
    data = CUT[name]
    cut = data[: min(int(len(data) * part), len(data) - 30)]  # some end in no pixels
    with pytest.raises(ValueError, match=r"^expected a whole picture") as error:
        read(tmp_path, cut, name=name)
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 300], [65535, 9]], ">u2"), [[0, 300 / 65535], [1, 9 / 65535]]),
        (np.array([[True, False], [False, True]]), [[1, 0], [0, 1]]),
        (np.array([[0, 2**32 - 1], [2**31, 0]], np.uint32), [[0, 1], [0.5, 0]]),
        (np.asfortranarray([[0.25, 0.5], [0.75, 1.0]], np.float16), [[0.25, 0.5], [0.75, 1]]),
        (np.array([[0.25, 0.5], [0.75, 1.0]], ">f8"), [[0.25, 0.5], [0.75, 1]]),
    ],
)
def test_npy_of_every_type(tmp_path, array, expected):
    buffer = io.BytesIO()
    np.save(buffer, array)
    np.testing.assert_allclose(read(tmp_path, buffer.getvalue())[..., 0], expected, atol=1e-7)


@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 3), np.int8), np.zeros((3, 3), "M8[s]"), np.zeros((3, 3), [("a", "u1")])],
)
def test_npy_of_other_types_is_refused(tmp_path, values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    with pytest.raises(ValueError, match=r"^expected float or unsigned values, got"):
        read(tmp_path, buffer.getvalue())


def test_png_helper_agrees_with_libpng():
    """The writer of the tests, so that two faults of ours do not hide each other."""
    import imagecodecs

    samples = RNG.integers(0, 65536, (13, 17, 3))
    for adam7 in (False, True):
        np.testing.assert_array_equal(
            imagecodecs.png_decode(png_of(samples, 16, 2, b"", adam7)), samples
        )
