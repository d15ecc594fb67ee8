"""What each part of recipe "fast" is worth: one part changed at a time, the rest as it is.

    python -m experiments.fits.ablation PHOTO [PHOTO ...] [--sites N ...] [--steps T]
        [--variants NAME ...] [--json FILE]

Every figure is of the picture decoded from the file's bytes. The file is rewritten after every fit
and fits that it holds are skipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax

import sad_jax as sad
from experiments.machine import read_rows, write_report

COLUMNS = ("photo", "sites", "variant", "psnr", "loop_psnr", "seconds", "steps")

Change = Callable[[sad.FitConfig], sad.FitConfig]


def recipe(**constants) -> Change:
    """The fit with other constants of its recipe."""
    return lambda config: replace(config, recipe=replace(config.recipe, **constants))


def steps(factor: float) -> Change:
    """The fit with so many times the steps."""
    return lambda config: replace(config, steps=round(factor * config.steps))


VARIANTS: dict[str, Change] = {
    "as it is": recipe(),
    "diagonal instead of blocks": recipe(blocks=False),
    "without the last step": recipe(use_last_step=False),
    "every length measured": recipe(measured_every=1),
    "curvature at every step": recipe(curvature_every=1),
    # one curvature for all steps on the same lists
    "lists every 2 steps": recipe(lists_every=2),
    "lists every 10 steps": recipe(lists_every=10, curvature_every=10),
    "whole lists from the start": recipe(early_k=32),
    "K = 4": lambda config: replace(config, k=4),
    "K = 12": lambda config: replace(config, k=12),
    "cells of 2": lambda config: replace(config, cell=2),
    # an overshoot of one: as many sites at the start as at the end
    "no thinning, no moves": recipe(overshoot=1, moved=0.0),
    "moves alone": recipe(overshoot=1),
    "thinning alone": recipe(moved=0.0),
    "sharp from the start": recipe(softest=1e6),
    "no colour solve": recipe(color_iterations=0),
    "half of the steps": steps(0.5),
    "twice the steps": steps(2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, nargs="+", default=[12_500])
    parser.add_argument("--steps", type=int, default=sad.FastRecipe().steps)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {tuple(row[name] for name in COLUMNS[:3]) for row in rows}
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for photo in args.photos:
        image = sad.read_image(photo)
        for sites in args.sites:
            usual = sad.FitConfig(
                num_sites=sites, recipe=sad.FastRecipe(), steps=args.steps, quality="lossless"
            )
            for name in args.variants:
                if (Path(photo).stem, sites, name) in done:
                    continue
                result = sad.fit(image, VARIANTS[name](usual), key=jax.random.key(0))
                row = {"photo": Path(photo).stem, "sites": sites, "variant": name}
                row |= {column: getattr(result, column) for column in COLUMNS[3:]}
                rows.append(row)
                values = (f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values())
                print("| " + " | ".join(values) + " |", flush=True)
                write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
