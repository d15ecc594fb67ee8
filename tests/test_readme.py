"""Every block of Python in the README runs, from the repository's root."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)


def test_the_blocks_are_those_that_the_tests_below_run():
    assert [block.splitlines()[-1].partition("  #")[0] for block in BLOCKS] == [
        "slope = jax.grad(lambda s: (sad.render(s, canvas) ** 2).mean())(sites)",
    ]


def test_it_is_read_in_two_minutes():
    """At most 600 words, and exactly two commands to start with."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 600
    start = re.search(r"^## Quick start\n(.*?)^## ", text, re.S | re.M)[1]
    assert len(re.findall(r"^    \S", start, re.M)) == 2


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


@pytest.fixture
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
@pytest.mark.usefixtures("at_the_root")
def test_the_fit_of_the_readme_runs(tmp_path):
    """With its file in another folder, and in a tenth of the steps."""
    block = BLOCKS[0].replace("parrots.sad", str(tmp_path / "parrots.sad"))
    short = block.replace("num_sites=1536", "num_sites=1536, steps=30")
    assert short != block
    space: dict = {}
    exec(short, space)
    sad, photo, sites = space["sad"], space["photo"], space["sites"]
    image = np.asarray(sad.render(sites, space["canvas"]))
    assert sites.num_sites == 1536
    assert space["image"].shape == (1024, 1536, 3)
    assert space["result"].psnr == pytest.approx(sad.metrics.psnr(image, photo), abs=1e-4)
    assert space["color"].shape == (1, 3)
    assert all(np.isfinite(leaf).all() for leaf in vars(space["slope"]).values())
