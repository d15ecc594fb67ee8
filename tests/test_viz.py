"""Pictures about a picture."""

import html
import json
import re
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageSequence

from sad_jax.draw.api import owners, render
from sad_jax.lists.exact import find_candidates
from sad_jax.model.canvas import Canvas
from sad_jax.viz import (
    diagram,
    displayed,
    error_map,
    explore,
    film_frame,
    tau_map,
    viridis,
    write_film,
)


@pytest.mark.parametrize("channels", [1, 7])
def test_diagram_shows_owners_and_borders(make_sites, channels):
    sites = make_sites(9, channels)
    lists = find_candidates(sites, Canvas((12, 16), k=4))
    owner = np.asarray(owners(sites, lists))
    image = diagram(sites, lists)
    assert image.shape == (12, 16, 3)
    inside = np.ones(owner.shape, bool)
    inside[:-1] &= owner[:-1] == owner[1:]
    inside[:, :-1] &= owner[:, :-1] == owner[:, 1:]
    shown = sites.color[:, :3] if channels >= 3 else np.repeat(sites.color[:, :1], 3, 1)
    np.testing.assert_array_equal(image[inside], shown[owner][inside])
    assert (image[~inside] < shown[owner][~inside]).all()
    assert 0 < inside.sum() < inside.size


def test_tau_map_orders_sites(make_sites):
    sites = make_sites(9)
    image = tau_map(sites, (12, 16))
    owner = np.asarray(owners(sites, (12, 16)))
    assert image.shape == (12, 16, 3)
    low, high = (sites.log_tau[owner].argmin(), sites.log_tau[owner].argmax())
    flat = image.reshape(-1, 3)
    np.testing.assert_allclose(flat[low], viridis(0.0), atol=0.02)
    np.testing.assert_allclose(flat[high], viridis(1.0), atol=0.02)
    same = sites.replace(log_tau=np.full(9, 5.0, np.float32))
    assert np.ptp(tau_map(same, (12, 16)), axis=(0, 1)).max() == 0


@pytest.mark.parametrize("channels", [1, 4, 7])
def test_error_map(channels):
    target = np.full((10, 10, channels), 0.5, np.float32)
    image = target.copy()
    image[3, 4] += 0.3
    shown = error_map(image, target)
    np.testing.assert_array_equal(shown[3, 4], viridis(1.0))
    np.testing.assert_array_equal(shown[0, 0], viridis(0.0))
    np.testing.assert_array_equal(error_map(target, target)[3, 4], viridis(0.0))
    with pytest.raises(ValueError, match="alike"):
        error_map(image, target[1:])


def test_viridis_is_viridis():
    """The well-known colours, to a few levels of 8 bits."""
    known = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]
    np.testing.assert_allclose(255 * viridis([0, 0.25, 0.5, 0.75, 1]), known, atol=5)
    np.testing.assert_array_equal(viridis([-5, 7]), viridis([0, 1]))
    brightness = viridis(np.linspace(0, 1, 256)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_displayed(channels):
    image = np.linspace(-1, 2, 4 * 5 * channels).reshape(4, 5, channels)
    shown = displayed(image)
    assert shown.shape == (4, 5, 3)
    expected = np.clip(image[..., : 3 if channels >= 3 else 1], 0, 1)
    np.testing.assert_allclose(shown, np.broadcast_to(expected, (4, 5, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size"), [((12, 16), (48, 12)), ((960, 2), (3, 480)), ((1, 1), (3, 1))]
)
def test_film_frames_hold_three_small_pictures(make_sites, shape, size):
    sites = make_sites(9)
    lists = find_candidates(sites, Canvas(shape, k=4))
    frame = film_frame(sites, lists)
    assert (frame.mode, frame.size) == ("RGB", size)
    if shape == (12, 16):
        panels = render(sites, lists), diagram(sites, lists), tau_map(sites, lists)
        np.testing.assert_allclose(
            np.asarray(frame) / 255, np.clip(np.concatenate(panels, 1), 0, 1), atol=0.51 / 255
        )


GRAYS = [Image.new("RGB", (25, 16), (level,) * 3) for level in (0, 128, 255)]


def test_a_gif_shows_its_frames(tmp_path):
    write_film(tmp_path / "film.gif", GRAYS)
    with Image.open(tmp_path / "film.gif") as film:
        shown = [np.asarray(frame.convert("RGB")).mean() for frame in ImageSequence.Iterator(film)]
    np.testing.assert_allclose(shown, [0, 128, 255], atol=2)


def test_an_mp4_shows_its_frames_of_even_sides(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    write_film(tmp_path / "film.mp4", GRAYS)
    decode = [ffmpeg, "-loglevel", "error", "-i", tmp_path / "film.mp4"]
    raw = subprocess.run(
        [*decode, "-f", "rawvideo", "-pix_fmt", "gray", "-"], capture_output=True, check=True
    )
    film = np.frombuffer(raw.stdout, np.uint8).reshape(3, 16, 24)
    np.testing.assert_allclose(film.mean((1, 2)), [0, 128, 255], atol=6)


def test_a_page_to_explore_shows_itself_in_a_notebook(make_sites, tmp_path):
    sites = make_sites(9, 2)
    page = explore(sites, (12, 16), np.full((12, 16, 2), 2.0), title="<a> & b", height=300)
    assert "<title>&lt;a&gt; &amp; b</title>" in page.html
    assert not re.search(r"src=.http|href=.http|import ", page.html), "it needs no network"
    frame = page._repr_html_()
    assert "height:300px" in frame
    assert html.unescape(re.search('srcdoc="([^"]*)"', frame)[1]) == page.html
    page.save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == page.html
    about = json.loads(re.search('id="about">(.*?)</script>', page.html)[1])
    half = render(sites, (12, 16)).clip(0, 2) / 2  # the photo's values are 0 to 2
    assert about["worst"] == pytest.approx(np.percentile(1 - half.mean(-1), 99.5), abs=0.1)
    with pytest.raises(ValueError, match=r"two pictures .* alike"):
        explore(sites, (12, 16), np.ones((12, 17, 2)))
