"""Files of the official programs decode to the pictures that those programs make of them."""

import os
import subprocess
import sys

import numpy as np
import pytest

import sad_jax as sad
from sad_jax.metrics import psnr

OFFICIAL_PSNR = 37.91  # dB, the official program's own picture of the file against the photo


@pytest.fixture(scope="module")
def kodim23(data):
    sites, canvas = sad.load(data / "kodim23_half_1536_sites.txt")
    return sites, canvas, sad.read_image(data / "kodim23_half.png")


@pytest.mark.parametrize("implementation", ["xla", "xla_vjp"])
def test_eight_sites_give_the_official_picture_in_every_pixel(data, implementation):
    sites, canvas = sad.load(data / "eight_sites.txt")
    image = np.asarray(sad.render(sites, canvas, implementation=implementation))
    expected = np.round(sad.read_image(data / "eight_render.png")[..., :3] * 255).astype(int)
    assert image.shape == expected.shape == (64, 96, 3)
    np.testing.assert_array_equal(np.floor(np.clip(image, 0, 1) * 255).astype(int), expected)


@pytest.mark.slow
def test_flooded_lists_reach_the_official_quality(kodim23, data, tmp_path):
    """By the command, as XLA optimises for users: it computes more than it compiles."""
    file, drawn = data / "kodim23_half_1536_sites.txt", tmp_path / "drawn.png"
    words = ["render", file, "--out", drawn, "--lists", "propagated"]
    command = [sys.executable, "-m", "sad_jax", *words]
    subprocess.run(command, env=os.environ | {"XLA_FLAGS": ""}, check=True, capture_output=True)
    sites, _, photo = kodim23
    assert sites.num_sites == 1536
    assert psnr(sad.read_image(drawn), photo) >= OFFICIAL_PSNR - 0.05


@pytest.mark.slow
def test_decoding_with_exact_lists_is_deterministic(kodim23):
    sites, canvas, photo = kodim23
    one, two = (sad.find_candidates(sites, canvas) for _ in range(2))
    np.testing.assert_array_equal(one.ids, two.ids)
    image = np.asarray(sad.render(sites, one))
    np.testing.assert_array_equal(image, sad.render(sites, canvas))
    assert psnr(image, photo) > 36


def test_exact_lists_of_a_real_file_equal_brute_force(kodim23, reference):
    """On a part of the cells: every 8th row and column, as a canvas of cells would be too slow."""
    sites, canvas, _ = kodim23
    ids = np.asarray(sad.find_candidates(sites, canvas).ids)[::8, ::8].reshape(-1, 8)
    points = reference.centers(canvas.shape, 8) - 3.5
    scores = reference.scores(sites, points, canvas.size)
    room = reference.rounding(sites, points, canvas.size)
    best = np.argsort(scores, axis=1, kind="stable")[:, :8]
    of = lambda table, ids: np.take_along_axis(table, ids, 1)  # noqa: E731
    error = np.abs(of(scores, ids) - of(scores, best))
    assert (error <= of(room, ids) + of(room, best)).all()
    assert np.mean(ids == best) > 0.999
