"""Draws the figures of these pages, with the library itself, into ``figures/``.

    python docs/figures.py

``hooks.py`` does so before each build.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from sad_jax.storage.pictures import to_uint8

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "figures"
GAP = 6  # pixels between pictures


def main() -> None:
    OUT.mkdir(exist_ok=True)
    photo = sad.read_image(ROOT / "tests/data/kodim23_half.png")
    sites, canvas = sad.load(ROOT / "tests/data/kodim23_half_1536_sites.txt")
    lists = sad.find_candidates(sites, canvas)

    sad.viz.explore(sites, canvas, photo, title="parrots").save(OUT / "viewer.html")
    beside(
        "parts",
        sad.render(sites, lists),
        sad.viz.diagram(sites, lists),
        sad.viz.tau_map(sites, lists),
    )
    large = (6 * canvas.height, 6 * canvas.width)
    part = np.s_[640:860, 500:900]
    beside("enlarged", *(sad.resample(sites, where, large)[part] for where in (lists, canvas)))
    beside("knobs", *knobs(photo))


def knobs(photo: np.ndarray) -> list[np.ndarray]:
    """The same few sites, one kind of number changed at a time."""
    photo = photo[70:166, 130:258]
    sites = sad.init_sites(photo, 40, key=jax.random.key(3))
    angle = np.linspace(0, 6 * np.pi, 40)
    sites = sites.replace(
        direction=np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32),
        log_aniso=np.full(40, -1.0, np.float32),
        log_tau=np.full(40, 4.6, np.float32),
    )
    bright = np.asarray(sites.color).mean(-1) > 0.35
    changed = [
        {},
        {"log_tau": sites.log_tau - 1.5},
        {"log_tau": sites.log_tau + 3},
        {"radius": sites.radius + 6 * bright},
        {"log_aniso": 0 * sites.log_aniso},
    ]
    return [sad.resample(sites.replace(**fields), (96, 128), (288, 384)) for fields in changed]


def beside(name: str, *pictures: np.ndarray) -> None:
    """Writes pictures of one height from left to right."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (to_uint8(np.asarray(picture)), gap)]
    sad.write_image(OUT / f"{name}.png", np.concatenate(row[:-1], axis=1))


if __name__ == "__main__":
    main()
