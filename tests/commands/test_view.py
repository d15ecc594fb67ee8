"""``sad-jax view``: the page it writes is that of ``sad.viz.explore``."""

import numpy as np
import pytest

import sad_jax as sad
from sad_jax import cli


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch, make_sites):
    monkeypatch.setenv("SAD_JAX_CACHE", "")
    monkeypatch.chdir(tmp_path)
    sad.save("a.sad", make_sites(9), (12, 16))
    sad.write_image("photo.png", np.full((12, 16, 3), 0.5))
    sad.write_image("wide.png", np.full((12, 17, 3), 0.5))


def test_the_page_is_written(tmp_path, capsys):
    sites, canvas = sad.load("a.sad")
    assert cli.main(["view", "a.sad"]) == 0
    assert "9 sites" in capsys.readouterr().out
    assert (tmp_path / "a_view.html").read_text() == sad.viz.explore(sites, canvas, title="a").html
    assert cli.main(["view", "a.sad", "--out", "sub/b.html", "--target", "photo.png"]) == 0
    photo = sad.read_image("photo.png")
    expected = sad.viz.explore(sites, canvas, photo, title="a").html
    assert (tmp_path / "sub/b.html").read_text() == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.sad --target wide.png", "expected a target of 16x12 pixels of 3 channels, got 17x12"),
        ("a.png", "expected"),
        ("none.sad", "none.sad"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, capsys, words, expected):
    assert cli.main(["view", *words.split()]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))
