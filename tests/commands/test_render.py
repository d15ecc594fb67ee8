"""``sad-jax render``: sizes are checked before the work."""

import os

import pytest

import sad_jax as sad
from sad_jax import cli


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
        ("large.sad --max-pixels 9999999999", "got 65535x65535, which take 704.0 GiB"),
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


def test_what_draws_nothing_takes_any_size(capsys):
    assert cli.main(["info", "large.sad"]) == 0
    assert "65535" in capsys.readouterr().out
    assert cli.main(["convert", "large.sad", "large.txt"]) == 0
    assert cli.main(["convert", "large.txt", "again.sad"]) == 0
    with open("large.sad", "rb") as a, open("again.sad", "rb") as b:
        assert a.read() == b.read()
