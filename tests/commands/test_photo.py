"""``sad-jax fit`` of one photograph: what fails is told before the work, nothing done is lost."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import sad_jax as sad
from sad_jax import cli
from sad_jax.metrics import psnr
from sad_jax.storage.atomic import DRAFT


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Each test stands in its own empty folder, without a compile cache."""
    monkeypatch.setenv("SAD_JAX_CACHE", "")
    monkeypatch.chdir(tmp_path)


def write_photo(name: str) -> str:
    y, x = np.mgrid[:16, :24]
    sad.write_image(name, np.stack([x / 24, y / 16, (x > 12) * 0.8], -1))
    return name


def fit(photo: str, *words: str) -> int:
    return cli.main(["fit", photo, "--sites", "64", "--steps", "40", *words])


@pytest.mark.parametrize("length", [244, 251])
def test_a_name_too_long_for_the_results_is_refused_before_the_fit(capsys, monkeypatch, length):
    photo = write_photo("p" * length + ".png")
    monkeypatch.setattr("sad_jax.commands.photo.start_jax", lambda: pytest.fail("no fit"))
    assert fit(photo) == 2
    err = capsys.readouterr().err
    assert err.startswith("sad-jax: error: expected a shorter name of a file, got one of 2")
    assert err.count("\n") == 1
    assert not os.listdir("out")


@pytest.mark.slow
def test_the_longest_name_is_fitted():
    photo = write_photo("p" * 243 + ".png")
    assert fit(photo) == 0
    assert len(os.listdir("out")) == 5
    assert fit(photo) == 0  # once more, onto the results


@pytest.mark.slow
@pytest.mark.parametrize("where", ["sad_jax.viz.diagram", "sad_jax.commands.fit.write_json"])
def test_a_result_that_could_not_be_stored_is_there_by_resuming(capsys, monkeypatch, where):
    photo = write_photo("photo.png")
    assert fit(photo, "--out", "whole") == 0

    def fail(*_):
        raise OSError(28, "No space left on device", "photo_diagram.png")

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        assert fit(photo) == 2
    assert "No space left on device: 'photo_diagram.png'" in capsys.readouterr().err
    assert Path("out/photo.ckpt").exists()
    steps = []
    monkeypatch.setattr("sad_jax.commands.bar.Bar.__call__", lambda _, now: steps.append(now))
    assert fit(photo, "--resume", "--seed", "1") == 2  # another fit
    assert "got one of another seed: out/photo.ckpt" in capsys.readouterr().err
    assert fit(photo, "--resume") == 0
    assert not steps
    assert not Path("out/photo.ckpt").exists()
    for name in os.listdir("whole"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_what_a_killed_run_left_is_cleared_away(monkeypatch):
    photo = write_photo("photo.png")
    os.mkdir("out")
    draft = Path("out", DRAFT.format("1"))
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))
    monkeypatch.setattr("sad_jax.commands.photo.start_jax", lambda: (_ for _ in ()).throw(OSError))
    assert fit(photo) == 2
    assert not os.listdir("out")


@pytest.mark.slow
def test_a_cube_of_31_bands_goes_all_the_way():
    """From a zarr array as a TIFF of 16 bits has it to a compact file, and a part back to TIFF."""
    zarr = pytest.importorskip("zarr")
    y, x, band = np.mgrid[:16, :24, :31] / np.reshape([16, 24, 31], (3, 1, 1, 1))
    cube = 0.5 + 0.3 * np.sin(5 * x + 4 * band) * np.cos(4 * y) + 0.2 * (x > 0.5) * band
    sad.write_image("cube.tif", cube.astype(np.float32), bits=16)
    photo = sad.read_image("cube.tif")
    levels = np.rint(photo * 65535).astype(np.uint16)
    zarr.create_array("cube.zarr", data=levels, chunks=(5, 24, 31))
    assert fit("cube.zarr", "--json", "f.json") == 0
    figures = json.loads(Path("f.json").read_text())
    assert figures["bytes"] < 64 * 38 * 2  # codec 1: 38 numbers a site
    drawn = np.clip(np.asarray(sad.render(*sad.load("out/cube.sad"))), 0, 1)
    expected = -10 * np.log10(np.mean((drawn.astype(float) - photo) ** 2))
    assert figures["psnr"] == pytest.approx(expected, abs=1e-3)
    assert expected > 35
    words = ["render", "out/cube.sad", "--crop", "5,3,9,11", "--out"]
    assert cli.main([*words, "part.tif", "--bits", "16"]) == 0
    assert cli.main([*words, "part.npy", "--target", "cube.tif"]) == 0
    np.testing.assert_allclose(np.load("part.npy"), drawn[3:14, 5:14], atol=1e-6)
    np.testing.assert_allclose(sad.read_image("part.tif"), np.load("part.npy"), atol=0.51 / 65535)


@pytest.mark.slow
def test_supersampling_writes_a_larger_picture_whose_means_are_the_photograph():
    photo = sad.read_image(write_photo("photo.png"))
    assert fit("photo.png", "--supersampling", "2", "--json", "found.json") == 0
    found = json.loads(Path("found.json").read_text())
    canvas = sad.load("out/photo.sad")[1]
    large = sad.read_image("out/photo.png")
    assert canvas.shape == large.shape[:2] == (32, 48)
    assert sad.read_image("out/photo_error.png").shape[:2] == (16, 24)
    means = large.reshape(16, 2, 24, 2, 3).mean((1, 3))
    assert found["psnr"] > 25
    assert found["psnr"] == pytest.approx(psnr(means, photo), abs=0.3)  # of 8 bits
    assert found["bpp"] == 8 * Path("out/photo.sad").stat().st_size / (16 * 24)
    assert cli.main(["render", "out/photo.sad", "--size", "24x16", "--target", "photo.png"]) == 0
    small = sad.read_image("out/photo_render.png")
    assert found["psnr"] == pytest.approx(psnr(small, photo), abs=0.3)
