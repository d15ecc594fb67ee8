"""Every block of Python in the README runs, from the repository's root."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)


def test_the_blocks_are_those_that_the_tests_below_run():
    assert [block.splitlines()[-1].partition("  #")[0] for block in BLOCKS] == [
        "slope = jax.grad(lambda s: (sad.render(s, lists) ** 2).mean())(sites)",
        "image = sad.render(state.sites, state.lists)",
        "image = sad.sharding.render(sites, lists, mesh=mesh)",
    ]


@pytest.fixture
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
@pytest.mark.usefixtures("at_the_root")
def test_the_fit_of_the_readme_runs(tmp_path):
    """With its file in another folder."""
    space: dict = {}
    exec(BLOCKS[0].replace("parrots.sad", str(tmp_path / "parrots.sad")), space)
    sad, photo, image = space["sad"], space["photo"], np.asarray(space["image"])
    assert space["sites"].num_sites == 1536
    assert space["result"].psnr == pytest.approx(sad.metrics.psnr(image, photo), abs=1e-4)
    assert space["color"].shape == (1, 3)
    assert all(np.isfinite(leaf).all() for leaf in vars(space["slope"]).values())


@pytest.mark.slow
@pytest.mark.usefixtures("at_the_root")
def test_the_inverse_problem_and_the_bands_of_the_readme_run():
    space: dict = {}
    exec(BLOCKS[1], space)
    photo, image = np.asarray(space["photo"]), np.asarray(space["image"])
    assert image.shape == photo.shape
    assert space["state"].num_sites == 400
    error = lambda picture: float(np.mean((picture - photo) ** 2))  # noqa: E731
    assert error(image) < 0.5 * error(np.asarray(space["forward"](photo)))
    exec(BLOCKS[2], space)
    expected = space["sad"].render(space["sites"], (96, 128))
    np.testing.assert_allclose(space["image"], expected, atol=1e-5)
