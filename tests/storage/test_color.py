"""Colours: ICC profiles against ImageCms and formulas, CMYK, Lab, and what is told of others."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from experiments.formats.synthetic import chunk, png
from sad_jax.storage.color import from_lab, to_srgb
from sad_jax.storage.pictures import read_image

RNG = np.random.default_rng(5)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", kind=b"mntr") -> bytes:
    """An ICC profile of version 2, written from the standard."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)} | tags
    at = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, kind, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


def rgb_profile(columns, curve: bytes) -> bytes:
    tags = {
        name + b"XYZ": b"XYZ \0\0\0\0" + fixed(*column)
        for name, column in zip((b"r", b"g", b"b"), columns, strict=True)
    }
    return profile(b"RGB ", tags | {name + b"TRC": curve for name in (b"r", b"g", b"b")})


CURVES = {
    "power": (gamma(2.19921875), lambda x: x**2.19921875),
    "none": (b"curv\0\0\0\0\0\0\0\0", lambda x: x),
    "table": (
        b"curv\0\0\0\0"
        + struct.pack(">I", 4096)
        + (np.arange(4096) ** 2 / 256).astype(">u2").tobytes(),
        lambda x: x**2,
    ),
    "para 0": (b"para\0\0\0\0\0\0\0\0" + fixed(1.8), lambda x: x**1.8),
    "para 3": (
        b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
        lambda x: np.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92),
    ),
}


def srgb_of(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("columns", [ADOBE, P3], ids=["adobe", "p3"])
def test_profiles_of_curves_keep_16_bits(tmp_path, columns, curve):
    samples = RNG.integers(0, 65536, (20, 30, 3))
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(rgb_profile(columns, CURVES[curve][0])))
    (tmp_path / "a.png").write_bytes(png(samples, 16, 2, icc, False))
    image = read_image(tmp_path / "a.png")
    linear = CURVES[curve][1](samples / 65535)
    white = np.array(
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]]
    )
    expected = srgb_of(linear @ np.array(columns) @ np.linalg.inv(white).T)
    np.testing.assert_allclose(image, expected, atol=4e-3)  # two matrices of sRGB
    assert len(np.unique(image)) > 1000


def files(picture: Image.Image, icc: bytes):
    """A picture with its profile in every format that holds one."""
    for form in ("PNG", "TIFF", "JPEG", "WEBP", "AVIF"):
        options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
        buffer = io.BytesIO()
        if not (form in ("WEBP", "AVIF") and picture.mode == "L"):
            picture.save(buffer, form, icc_profile=icc, **options.get(form, {"quality": 100}))
            yield form, buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_8_bits_agree_with_imagecms(tmp_path, mode):
    gray = mode[0] == "L"
    icc = (
        profile(b"GRAY", {b"kTRC": gamma(1.8)}) if gray else rgb_profile(ADOBE, CURVES["power"][0])
    )
    picture = Image.effect_noise((30, 20), 60).convert(mode)
    if not gray:
        picture = Image.merge(mode, [Image.effect_noise((30, 20), 60) for _ in mode])
    for form, data in (
        files(picture, icc) if mode in ("RGB", "L") else [("PNG", saved(picture, icc))]
    ):
        (tmp_path / "a").write_bytes(data)
        image = read_image(tmp_path / "a")
        with Image.open(tmp_path / "a") as opened:
            color = opened.convert("L" if gray else "RGB")
        by_cms = ImageCms.profileToProfile(
            color, io.BytesIO(icc), io.BytesIO(SRGB), outputMode="RGB"
        )
        expected = np.asarray(by_cms)[..., : 1 if gray else 3] / 255
        channels = expected.shape[2]
        np.testing.assert_allclose(image[..., :channels], expected, atol=2.1 / 255, err_msg=form)
        assert (
            np.abs(image[..., :channels] - np.asarray(color).reshape(expected.shape) / 255).max()
            > 0.02
        )
        if mode[-1] == "A":
            np.testing.assert_array_equal(
                image[..., -1], np.asarray(picture)[..., -1] / np.float32(255)
            )


def saved(picture: Image.Image, icc: bytes, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, icc_profile=icc)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_srgb_changes_nothing(tmp_path, mode):
    picture = Image.effect_noise((30, 20), 60).convert(mode)
    for form in ("PNG", "TIFF"):
        (tmp_path / "a").write_bytes(saved(picture, SRGB, form))
        expected = np.asarray(picture).reshape(20, 30, -1) / np.float32(255)
        np.testing.assert_array_equal(read_image(tmp_path / "a"), expected)


def lut_profile(space: bytes, channels: int) -> bytes:
    """A profile of tables: L* falls with the sum of the inks, or rises with that of the lights."""
    corners = np.indices((2,) * channels).reshape(channels, -1).mean(axis=0)
    light = 1 - corners if space == b"CMYK" else corners
    lab = np.stack([255 * light, np.full_like(light, 128), 128 + 60 * corners], axis=1)
    ramp = np.tile(np.arange(256, dtype=np.uint8), 1).tobytes()
    table = b"mft1\0\0\0\0" + bytes([channels, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * channels + lab.astype(np.uint8).tobytes() + ramp * 3
    return profile(space, {b"A2B0": table}, b"Lab ", b"prtr")


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_profiles_of_tables_are_imagecms_s(tmp_path, mode):
    icc = lut_profile(mode.ljust(4).encode(), len(mode))
    picture = Image.merge(mode, [Image.effect_noise((30, 20), 60) for _ in mode])
    (tmp_path / "a.tif").write_bytes(saved(picture, icc, "TIFF"))
    expected = ImageCms.profileToProfile(
        picture, io.BytesIO(icc), io.BytesIO(SRGB), outputMode="RGB"
    )
    np.testing.assert_allclose(
        read_image(tmp_path / "a.tif"), np.asarray(expected) / 255, atol=1.01 / 255
    )


def test_profiles_of_tables_with_16_bits_are_told(tmp_path):
    samples = RNG.integers(0, 65536, (5, 7, 3))
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(lut_profile(b"RGB ", 3)))
    (tmp_path / "a.png").write_bytes(png(samples, 16, 2, icc, False))
    with pytest.warns(UserWarning, match="tables with 16 bits, not applied"):
        image = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image, samples / 65535, rtol=1e-6)


BROKEN = {
    "a broken one": SRGB[:300],
    "got a broken one": b"nothing",
    "of 3 channels, got one of 'GRAY'": profile(b"GRAY", {b"kTRC": gamma(1.8)}),
    "got a broken one, not applied": profile(b"RGB ", {b"A2B0": b"nothing"}),
}


@pytest.mark.parametrize("said", BROKEN)
def test_profiles_that_cannot_be_applied_are_told(tmp_path, said):
    picture = Image.merge("RGB", [Image.effect_noise((30, 20), 60) for _ in "RGB"])
    (tmp_path / "a.png").write_bytes(saved(picture, BROKEN[said]))
    with pytest.warns(UserWarning, match=said):
        image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image, np.asarray(picture) / np.float32(255))


CODES = {
    "gAMA": [(struct.pack(">I", 45455), False), (struct.pack(">I", 100000), True)],
    "cHRM": [
        (struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), False),
        (struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000), True),
    ],
    "cICP": [(b"\1\x0d\0\1", False), (b"\x09\x10\0\1", True)],
    "sRGB": [(b"\0", False)],
}


@pytest.mark.parametrize(("name", "body", "told"), [(n, b, t) for n in CODES for b, t in CODES[n]])
def test_other_words_of_a_png_for_its_colors_are_told(tmp_path, name, body, told):
    samples = RNG.integers(0, 256, (5, 7, 3))
    (tmp_path / "a.png").write_bytes(png(samples, 8, 2, chunk(name.encode(), body), False))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        image = read_image(tmp_path / "a.png")
    assert len(warned) == told
    assert not told or "expected sRGB, got" in str(warned[0].message)
    np.testing.assert_allclose(image, samples / 255, rtol=1e-6)


def test_cmyk_without_a_profile_multiplies():
    cmyk = RNG.random((2, 3, 4), np.float32)
    rgb, notes = to_srgb(cmyk, None, 8)
    np.testing.assert_array_equal(rgb, (1 - cmyk[..., :3]) * (1 - cmyk[..., 3:]))
    assert not notes


def test_lab_of_known_colors():
    lab = [[[100, 0, 0], [0, 0, 0], [54.29, 80.80, 69.89], [53.585, 0, 0]]]  # of D50, by Lindbloom
    expected = [[[1, 1, 1], [0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5]]]
    np.testing.assert_allclose(from_lab(np.array(lab, float)), expected, atol=4e-3)


def test_floats_with_a_profile_are_told():
    values = RNG.random((2, 3, 3), np.float32)
    same, notes = to_srgb(values, rgb_profile(ADOBE, gamma(1.0)), 0)
    assert same is values
    assert "floats" in notes[0]
