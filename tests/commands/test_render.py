"""``sad-jax render``: sizes are checked before the work."""

import os

import jax
import numpy as np
import pytest

import sad_jax as sad
from sad_jax import cli
from sad_jax.draw import bands
from sad_jax.lists import view


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch, make_sites):
    """A small canvas, and one that 66 bytes can promise."""
    monkeypatch.setenv("SAD_JAX_CACHE", "")
    monkeypatch.chdir(tmp_path)
    sad.save("small.sad", make_sites(9), (12, 16))
    sad.save("large.sad", make_sites(1), (65535, 65535))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("small.sad --size 1000000x1000000", "got 1000000x1000000, which take "),
        ("small.sad --size 2147483647x2147483647", "got 2147483647x2147483647, which take"),
        ("small.sad --size 300000x300000 --keep-radius", "got 300000x300000, which take "),
        ("small.sad --scale 1e5", "got 1600000x1200000, which take "),
        ("small.sad --scale 1e9", "at most 2147483647 pixels a side, got 1.6e+10"),
        ("small.sad --scale 1e308", "at most 2147483647 pixels a side, got inf"),
        ("small.sad --max-pixels 191", "at most 191 pixels, got 16x12"),
        ("large.sad", "at most 134217728 pixels, got 65535x65535, which take 48.0 GiB"),
        ("large.sad --max-pixels 9999999999 --out a.jpg", "got 65535x65535, which take "),
        ("small.sad --size 9000x9000 --max-pixels 80000000", "at most 80000000 pixels"),
        ("small.sad --bits 32", "expected 8 or 16 bits for PNG, got 32"),
    ],
)
def test_sizes_are_refused_with_what_they_would_take(capsys, words, expected):
    assert cli.main(["render", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("sad-jax: error: expected ")
    assert err.count("\n") == 1
    assert expected in err
    assert sorted(os.listdir()) == ["large.sad", "small.sad"]


@pytest.mark.parametrize("words", ["", "--size 30x41", "--scale 2 --keep-radius"])
def test_bands_are_the_same_picture(monkeypatch, words):
    assert cli.main(["render", "small.sad", *words.split(), "--out", "whole.npy"]) == 0
    monkeypatch.setattr(bands, "BAND", 60)
    monkeypatch.setattr(view, "BAND", 60)
    assert cli.main(["render", "small.sad", *words.split(), "--out", "bands.npy"]) == 0
    np.testing.assert_allclose(np.load("bands.npy"), np.load("whole.npy"), atol=1e-6)
    jax.clear_caches()  # they hold views of other bands


def test_bits_of_a_picture():
    assert cli.main(["render", "small.sad", "--out", "a.npy"]) == 0
    for name, bits in (("a.png", 16), ("a.tif", 16), ("b.tif", 32)):
        assert cli.main(["render", "small.sad", "--bits", str(bits), "--out", name]) == 0
        error = abs(sad.read_image(name) - np.load("a.npy")).max()
        assert error <= (0.51 / 65535 if bits == 16 else 0)


def test_what_draws_nothing_takes_any_size(capsys):
    assert cli.main(["info", "large.sad"]) == 0
    assert "65535" in capsys.readouterr().out
    assert cli.main(["convert", "large.sad", "large.txt"]) == 0
    assert cli.main(["convert", "large.txt", "again.sad"]) == 0
    with open("large.sad", "rb") as a, open("again.sad", "rb") as b:
        assert a.read() == b.read()
