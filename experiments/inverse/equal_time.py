"""Loss and PSNR against time: sites by Gauss-Newton and by Adam, and every baseline.

    python -m experiments.inverse.equal_time --out FOLDER

Sparse-view CT of ellipses and a blurred photograph, seed 0. A curve of sites is one run, looked at
after some of its steps; a point of the others is a run of its own of so many steps. All are run
once before, so that nothing is compiled; the seconds are those of the processor, without the looks.
The loss has the total variation; the figure shows it of those that minimise it.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import sad_jax as sad
from experiments.inverse import common, ct, deblur, phantoms
from experiments.inverse.common import Problem, Settings
from experiments.machine import table, write_report

PROBLEMS = {
    "CT": (partial(ct.make, phantoms.ellipses), ct.SETTINGS),
    "deblurring": (partial(deblur.make, common.PHOTOS[0]), deblur.SETTINGS),
}
WARM = 13  # steps of sites that compile everything
LOOKS = 12  # at a run of sites
TV_STEPS = (30, 100, 300, 1000)
PIXEL_STEPS = (30, 100, 300)
WITHOUT_TV = ("pixels without TV", "FBP", "Wiener", "Richardson-Lucy")
COLUMNS = ("problem", "method", "steps", "seconds", "loss", "psnr")

Point = tuple[int, float, jax.Array]  # steps, seconds, picture


class Looks:
    """A ``progress`` that keeps pictures, and the processor's seconds without what it does itself.

    ``pictures``: of a state.
    """

    def __init__(self, pictures: Callable[[sad.State], jax.Array]):
        self.points: list[Point] = []
        self.pictures, self.spent, self.last = jax.jit(pictures), 0.0, time.process_time()

    def __call__(self, now: sad.Progress) -> None:
        jax.block_until_ready(now.state)
        self.spent += time.process_time() - self.last
        if now.step % max(1, now.steps // LOOKS) == 0:
            picture = self.pictures(now.state)
            self.points.append((now.step, self.spent, jax.block_until_ready(picture)))
        self.last = time.process_time()


def drawn(state: sad.State) -> jax.Array:
    return sad.render(state.sites, state.lists)


def mean_drawn(states: sad.State) -> jax.Array:
    return jnp.mean(jax.vmap(drawn)(states), 0)


def by_sites(options: dict, problem: Problem, settings: Settings) -> list[Point]:
    run = partial(
        common.minimize, problem, 0, settings.tv_sites, common.penalised, settings.tv, **options
    )
    return looked_at(run, drawn)


def mean_of_sites(problem: Problem, settings: Settings) -> list[Point]:
    run = partial(common.ensemble, problem, settings, 0, common.penalised, settings.tv)
    return looked_at(run, mean_drawn)


def looked_at(run: Callable, pictures: Callable[[sad.State], jax.Array]) -> list[Point]:
    """The points of a run of sites, after a short one that compiles."""
    run(steps=WARM, progress=Looks(pictures))
    looks = Looks(pictures)
    run(progress=looks)
    return looks.points


def by_steps(solve: Callable, counts: tuple[int, ...], problem: Problem, settings: Settings):
    """A run of its own for each number of steps, twice, so that the second compiles nothing."""
    points = []
    for steps in counts:
        for _ in range(2):
            begin = time.process_time()
            picture = jax.block_until_ready(solve(steps, problem, settings))
        points.append((steps, time.process_time() - begin, picture))
    return points


def pixels(steps: int, problem: Problem, settings: Settings):
    return common.run_pixels(problem, dataclasses.replace(settings, adam_steps=steps), 0)[0]


def tv(steps: int, problem: Problem, settings: Settings):
    return common.run_tv(problem, dataclasses.replace(settings, tv_steps=steps), 0)[0]


EVERYWHERE = {
    "sites + TV, Gauss-Newton": partial(by_sites, common.gauss_newton(60)),
    "sites + TV, Adam": partial(by_sites, common.adam(300)),
    "sites + TV, mean of 4": mean_of_sites,
    "TV over pixels": partial(by_steps, tv, TV_STEPS),
    "pixels without TV": partial(by_steps, pixels, PIXEL_STEPS),
}
METHODS = {
    "CT": EVERYWHERE | {"FBP": partial(by_steps, lambda _, *problem: ct.fbp(*problem)[0], (1,))},
    "deblurring": EVERYWHERE
    | {
        "Wiener": partial(by_steps, lambda _, *known: deblur.OTHERS["Wiener"](*known)[0], (1,)),
        "Richardson-Lucy": partial(
            by_steps, lambda steps, *known: deblur.richardson(steps)(*known)[0], (5, 25, 100)
        ),
    },
}


def measured(title: str) -> list[dict]:
    """A row for each point of each method."""
    make, settings = PROBLEMS[title]
    problem, rows, show = make(0), [], table(COLUMNS)
    for method, solve in METHODS[title].items():
        for steps, seconds, picture in solve(problem, settings):
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
