"""Loss and PSNR against time: sites by Gauss-Newton and by Adam, and every baseline.

    python -m experiments.inverse.equal_time --out FOLDER

Sparse-view CT of ellipses and a blurred photograph, seed 0. A point of a curve is a run of its own
of so many steps, after one that compiles all it needs; the seconds are those of the processor. The
loss has the total variation; the figure shows it of those that minimise it.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import matplotlib.pyplot as plt

from experiments.inverse import common, ct, deblur, phantoms
from experiments.inverse.common import Problem, Settings
from experiments.machine import table, write_report

PROBLEMS = {
    "CT": (partial(ct.make, phantoms.ellipses), ct.SETTINGS),
    "deblurring": (partial(deblur.make, common.PHOTOS[0]), deblur.SETTINGS),
}
WARM = 13  # steps of sites that compile everything
TV_STEPS = (30, 100, 300, 1000, 3000)
NEWTON_STEPS = (15, 30, 60, 120)
WITHOUT_TV = ("pixels without TV", "FBP", "Wiener", "Richardson-Lucy")
COLUMNS = ("problem", "method", "steps", "seconds", "loss", "psnr")


def sites_by(solver: Callable[[int], dict], steps: int, warm: bool, problem: Problem, settings):
    options = solver(steps) | ({"steps": WARM} if warm else {})
    weight, sites = settings.tv, settings.tv_sites
    return common.minimize(problem, 0, sites, common.penalised, weight, **options)[0]


def mean_of_sites(steps: int, warm: bool, problem: Problem, settings: Settings):
    settings = dataclasses.replace(settings, newton_steps=steps)
    options = {"steps": WARM} if warm else {}
    return common.ensemble(problem, settings, 0, common.penalised, settings.tv, **options)[0]


def pixels(steps: int, _: bool, problem: Problem, settings: Settings):
    return common.run_pixels(problem, dataclasses.replace(settings, adam_steps=steps), 0)[0]


def tv(steps: int, _: bool, problem: Problem, settings: Settings):
    return common.run_tv(problem, dataclasses.replace(settings, tv_steps=steps), 0)[0]


def iterations(steps: int, _: bool, problem: Problem, settings: Settings):
    return deblur.richardson(steps)(problem)[0]


def once(solve: Callable, _: int, __: bool, problem: Problem, settings: Settings):
    return solve(problem, settings, 0)[0]


EVERYWHERE = {
    "sites + TV, Gauss-Newton": (partial(sites_by, common.gauss_newton), NEWTON_STEPS),
    "sites + TV, Adam": (partial(sites_by, common.adam), (100, 300, 900)),
    "sites + TV, mean of 4": (mean_of_sites, (15, 30, 60)),
    "TV over pixels": (tv, TV_STEPS),
    "pixels without TV": (pixels, (30, 100, 300)),
}
METHODS = {
    "CT": EVERYWHERE | {"FBP": (partial(once, ct.fbp), (1,))},
    "deblurring": EVERYWHERE
    | {
        "Wiener": (partial(once, deblur.OTHERS["Wiener"]), (1,)),
        "Richardson-Lucy": (iterations, (5, 25, 100)),
    },
}


def measured(title: str) -> list[dict]:
    """A row for each method and number of steps."""
    make, settings = PROBLEMS[title]
    problem, rows, show = make(0), [], table(COLUMNS)
    for method, (solve, counts) in METHODS[title].items():
        for steps in counts:
            jax.block_until_ready(solve(steps, True, problem, settings))
            begin = time.process_time()
            picture = jax.block_until_ready(solve(steps, False, problem, settings))
            seconds = time.process_time() - begin
            loss = common.penalised(picture, problem.operator, problem.data, settings.tv)
            row = {"problem": title, "method": method, "steps": steps, "seconds": seconds}
            rows.append(row | {"loss": float(loss)} | problem.figures(picture))
            show(rows[-1])
    return rows


def draw(rows: list[dict], path: Path) -> None:
    """Two problems, one beside the other: above the loss against the seconds, below the PSNR."""
    figure, axes = plt.subplots(2, len(PROBLEMS), figsize=(11, 8), layout="constrained")
    for column, title in zip(axes.T, PROBLEMS, strict=True):
        for method in METHODS[title]:
            points = [r for r in rows if (r["problem"], r["method"]) == (title, method)]
            for axis, key in zip(column, ("loss", "psnr"), strict=True):
                if key == "psnr" or method not in WITHOUT_TV:
                    seconds = [max(p["seconds"], 0.01) for p in points]
                    axis.plot(seconds, [p[key] for p in points], "o-", ms=4, label=method)
                else:
                    axis.plot([], [])  # the same colours in both
        lowest = min(r["loss"] for r in rows if r["problem"] == title)
        column[0].set(title=title, xscale="log", ylabel="loss", ylim=(lowest * 0.98, lowest * 1.4))
        column[1].set(xscale="log", xlabel="processor seconds", ylabel="PSNR in dB")
        column[1].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder for the JSON file and the figure")
    out = Path(parser.parse_args().out)
    rows = [row for title in PROBLEMS for row in measured(title)]
    write_report(str(out / "inverse_equal_time.json"), rows=rows)
    draw(rows, out / "inverse_equal_time.png")


if __name__ == "__main__":
    main()
