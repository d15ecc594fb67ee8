"""What notebooks show is well-formed HTML that holds the figures and the picture."""

import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
from PIL import Image

import sad_jax as sad
from sad_jax.model.value_range import ValueRange


class Checker(HTMLParser):
    """Collects the text; every tag must be closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def picture_in(text: str) -> np.ndarray:
    (data,) = re.findall(r"base64,([^\"]+)", text)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) / 255


def test_sites_are_shown_as_a_table_of_their_fields(make_sites):
    sites = make_sites(7, 1)
    text = Checker(sites._repr_html_()).text
    assert "7 sites" in text
    assert f"{sites.log_tau.max():.4g}" in text
    shown = picture_in(sites._repr_html_())
    low, high = np.zeros(2), sites.position.max(0)
    place = (sites.position - low) * (240 - 3) / (high - low).max() + 1
    for (x, y), gray in zip(place.astype(int), sites.color[:, 0], strict=True):
        assert abs(shown[y, x] - gray).min() < 0.5  # unless a later dot lies upon it
    assert (abs(shown - 128 / 255) > 1e-6).any()


def test_a_state_is_shown_with_its_picture_and_without_free_slots(make_sites):
    state = sad.make_state(make_sites(7, shape=(6, 9)), (6, 9), sad.adam(), capacity=9)
    text = state._repr_html_()
    assert "7 sites" in Checker(text).text
    expected = np.clip(sad.render(state.sites, state.lists), 0, 1)
    np.testing.assert_allclose(picture_in(text), expected, atol=1 / 255)


def test_a_result_is_shown_with_its_picture_and_figures(make_sites):
    sites = make_sites(12)
    figures = {
        "psnr": 31.4159,
        "float_psnr": 31.7,
        "ssim": 0.9,
        "steps": 7,
        "seconds": 1.5,
        "data": bytes(240),
    }
    result = SimpleNamespace(
        sites=sites, canvas=sad.Canvas((12, 16), k=3), supersampling=1, **figures
    )
    text = sad.FitResult._repr_html_(result)
    shown = Checker(text).text
    for figure in ("16 x 12", "31.42 dB", "240 bytes, 10.00 bpp", "result.explore()"):
        assert figure in shown
    expected = np.clip(sad.render(sites, result.canvas), 0, 1)
    np.testing.assert_allclose(picture_in(text), expected, atol=1 / 255)

    result.value_range, result.history = ValueRange(), {"step": [1, 2], "psnr": [20.0, 30.0]}
    for photo, names in ((None, 4), (np.zeros((12, 16, 3)), 5)):
        figure = sad.FitResult.plot(result, photo)
        assert len(figure.axes) == names
        np.testing.assert_array_equal(figure.axes[-1].lines[0].get_ydata(), [20, 30])
        np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected, atol=1e-6)
    assert sad.FitResult.explore(result).html == sad.viz.explore(sites, result.canvas).html

    result.supersampling = 2  # the photo has half the picture's pixels a side
    assert "240 bytes, 40.00 bpp" in Checker(sad.FitResult._repr_html_(result)).text
    small = np.linspace(0, 1, 6 * 8 * 3, dtype=np.float32).reshape(6, 8, 3)
    large = np.kron(small, np.ones((2, 2, 1), np.float32))
    expected = sad.viz.explore(sites, result.canvas, large).html
    assert sad.FitResult.explore(result, small).html == expected
