"""Fits of photographs: PSNR in the loop and of the file, SSIM and seconds, for both recipes.

    python -m experiments.fits.kodak PHOTO [PHOTO ...] --sites 12500 1536 --recipe fast paper
        [--half] [--seeds 0] [--json FILE]

Every figure but "in the loop" is of the picture decoded from the file's bytes. ``--half`` averages
2 x 2 pixels first. The file is rewritten after every fit and fits that it holds are skipped, so a
run can be interrupted and gone on with. Processor seconds are those of all cores without compiling:
a short fit before the first one of each kind compiles what it needs.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import read_rows, table, write_report

FIGURES = ("loop_psnr", "psnr", "ssim", "seconds", "processor_seconds")
COLUMNS = ("photo", "recipe", "sites", "seed", *FIGURES)
WARM_UP = 60  # steps, in which everything is compiled


compiled: set[tuple] = set()


def half(image: np.ndarray) -> np.ndarray:
    """Averages 2 x 2 pixels and rounds to 8 bits, as a stored picture would be."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    parts = image[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
    return np.round(255 * parts.mean((1, 3))) / 255


def fit(photo: str, recipe: str, sites: int, seed: int, args: argparse.Namespace) -> dict:
    """The figures of one fit, and its PSNR in the loop against time."""
    image = sad.read_image(photo)
    image = half(image) if args.half else image
    config = sad.FitConfig(num_sites=sites, recipe=recipe, quality="lossless")
    kind = image.shape, config
    if kind not in compiled:
        sad.fit(image, replace(config, steps=WARM_UP), key=jax.random.key(0))
        compiled.add(kind)
    begin = time.process_time()
    result = sad.fit(image, config, key=jax.random.key(seed))
    named = {name: getattr(result, name) for name in FIGURES[:-1]}
    named["processor_seconds"] = time.process_time() - begin
    row = {"photo": Path(photo).stem, "recipe": recipe, "sites": sites}
    row |= {"seed": seed, "half": args.half}
    curve = {name: result.history[name] for name in ("seconds", "psnr")}
    return row | named | {"bytes": len(result.data), "steps": result.steps, "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, nargs="+", default=[12_500])
    parser.add_argument("--recipe", nargs="+", default=["fast"])
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {(row["photo"], row["recipe"], row["sites"], row.get("seed", 0)) for row in rows}
    show = table(COLUMNS)
    for row in rows:
        show(row)
    for photo, recipe, sites, seed in itertools.product(
        args.photos, args.recipe, args.sites, args.seeds
    ):
        if (Path(photo).stem, recipe, sites, seed) not in done:
            rows.append(fit(photo, recipe, sites, seed, args))
            show(rows[-1])
            write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
