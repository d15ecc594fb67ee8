"""The README's code runs, block after block, from the repository's root."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def test_the_readmes_inverse_problem_and_bands_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text()
    text = text[text.index("## Inverse problems") : text.index("## On the command line")]
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    space: dict = {}
    exec(blocks[0], space)
    photo, image = np.asarray(space["photo"]), np.asarray(space["image"])
    assert image.shape == photo.shape
    assert space["state"].num_sites == 400
    error = lambda picture: float(np.mean((picture - photo) ** 2))  # noqa: E731
    assert error(image) < 0.5 * error(np.asarray(space["forward"](photo)))
    exec(blocks[1], space)
    expected = space["sad"].render(space["sites"], (96, 128))
    np.testing.assert_allclose(space["image"], expected, atol=1e-5)
