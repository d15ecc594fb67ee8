"""A picture in bands is the whole picture."""

import jax
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.draw import bands
from sad_jax.draw.bands import Window, render_bands, resample_bands
from sad_jax.lists import view


@pytest.mark.parametrize(
    ("window", "cell", "rows"),
    [((0, 0, 10, 25), 1, [4, 4, 4, 4, 4, 4, 1]), ((3, 5, 10, 12), 2, [3, 4, 4, 1])],
)
def test_bands_cover_a_window_and_begin_with_cells(monkeypatch, window, cell, rows):
    monkeypatch.setattr(bands, "BAND", 40)
    found = Window(*window).bands(cell)
    assert [band.height for band in found] == rows
    assert all(band.y % cell == 0 for band in found[1:])
    assert [band.y for band in found] == [window[1] + sum(rows[:i]) for i in range(len(rows))]
    assert {(band.x, band.width) for band in found} == {(window[0], window[2])}


def test_a_wide_window_has_bands_of_a_cell():
    assert {w.height for w in Window(0, 0, 2**30, 12).bands(4)} == {4}


@pytest.mark.parametrize("cell", [1, 4])
def test_rendered_bands_are_the_picture(monkeypatch, make_sites, cell):
    monkeypatch.setattr(bands, "BAND", 170)
    sites, canvas = make_sites(9), sad.Canvas((12, 16), k=5, cell=cell)
    found = list(render_bands(sites, canvas))
    assert len(found) == 2
    whole = np.asarray(sad.render(sites, canvas))
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-6)


def test_resampled_bands_are_the_picture(monkeypatch, make_sites):
    sites, canvas = make_sites(9), sad.Canvas((12, 16), k=5)
    whole = np.asarray(sad.resample(sites, canvas, (31, 20)))
    monkeypatch.setattr(view, "BAND", 170)
    found = list(resample_bands(sites, canvas, (31, 20)))
    assert len(found) > 2
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-6)
    jax.clear_caches()
