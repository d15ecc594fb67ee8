"""What the inverse problems share: the methods that fit any linear operator, figures, pictures.

A problem is data y = A(truth) + noise. SAD and a grid of pixels minimise the same loss, mean |A(c)
- y|^2, with Adam in the same number of steps. TV adds the total variation: over pixels by a
primal-dual algorithm, over sites by Adam or Gauss-Newton, as the mean of several starts and by the
first of them alone. None looks at the truth: steps and settings are fixed beforehand.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm

import sad_jax as sad
from experiments.machine import write_report
from sad_jax import priors
from sad_jax.metrics import psnr, ssim

RATE = 4.0  # of Adam, times the published rates, at the start
DAMPING = (0.1, 0.01)  # of Gauss-Newton, from its first step to its last
PIXEL_RATE = 0.01  # of Adam on pixels, falling like that of SAD
BALANCE = 10.0  # of the primal-dual algorithm: its primal step over its dual one, square root
PARAMETERS = 7  # of a site, besides its colours
LEVELS = tuple(i / 20 for i in range(1, 20))  # of error bars
SHARES = tuple(i / 100 for i in range(5, 100, 2))  # of errors
LEAST_SPREAD = 1e-6  # where all members agree
BINS = 10  # of values by their spread
SMALL = {"adam_steps": 3, "newton_steps": 2, "tv_steps": 20, "members": 2}
SEEDS = (0, 1, 2)
PHOTOS = ("tests/data/kodim23_half.png",)
MEAN = ", mean of "
GAP = 4  # pixels between two pictures of the montage

Picture = np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem of one seed.

    Attributes:
      truth: float[H, W, C] in [0, 1].
      operator: A, linear, picture -> data; a ``jax.tree_util.Partial``, so that what differs from
        seed to seed is data, and nothing is compiled twice.
      data: y.
      start: float[H, W, C], a first picture, from the data alone.
      shown: the data as a picture, for the montage.
      counts: bool[H, W], the pixels that are scored; None scores all.
    """

    truth: Picture
    operator: jax.tree_util.Partial
    data: jax.Array
    start: jax.Array
    shown: Picture
    counts: Picture | None = None

    def figures(self, picture: Picture, std: Picture | None = None) -> dict:
        """Of what is scored; of an ensemble also how its spread and its error go together.

        ``coverage``: of each of the LEVELS, the share of values nearer to the mean than a normal
        distribution of that spread has at that level. ``ratios``: of each of the SHARES, the least
        factor of the spread within which such a share of the errors lies. ``spreads``, ``errors``:
        root mean squares of the values of each tenth, from the least spread to the largest.
        """
        picture, truth = np.clip(picture, 0, 1), np.asarray(self.truth)
        figures = {"psnr": psnr(picture, truth), "ssim": ssim(picture, truth)}
        counts = np.full(truth.shape[:2], True) if self.counts is None else np.asarray(self.counts)
        if self.counts is not None:
            figures["psnr"] = psnr(picture[counts][None], truth[counts][None])
        if std is not None:
            error, spread = abs(picture - truth)[counts].ravel(), np.asarray(std)[counts].ravel()
            figures["correlation"] = float(np.corrcoef(error, spread)[0, 1])
            reach = norm.ppf((1 + np.asarray(LEVELS)) / 2)
            figures["coverage"] = [float(np.mean(error <= z * spread)) for z in reach]
            ratios = error / np.maximum(spread, LEAST_SPREAD)
            figures["ratios"] = np.quantile(ratios, SHARES).tolist()
            tenths = np.array_split(np.argsort(spread), BINS)
            for name, values in {"spreads": spread, "errors": error}.items():
                figures[name] = [float(np.sqrt(np.mean(values[t] ** 2))) for t in tenths]
        return figures


class Found(NamedTuple):
    """What a method has come to.

    Attributes:
      picture: float[H, W, C].
      parameters: how many numbers it has.
      std: of an ensemble, whose mean the picture is; like the picture.
      first: the picture of the ensemble's first member alone.
    """

    picture: Picture
    parameters: int
    std: Picture | None = None
    first: Picture | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """What was chosen for a problem, on other pictures than those of the table."""

    sites: int  # of SAD
    tv: float  # weight of the total variation
    tv_sites: int  # of SAD + TV: with another prior beside them, sites need not be few
    tv_solver: str  # of SAD + TV, "adam" or "gauss_newton"
    adam_steps: int = 300  # for SAD and for pixels
    newton_steps: int = 60
    tv_steps: int = 1000  # of the primal-dual algorithm
    members: int = 4  # of an ensemble

    def solver(self) -> dict:
        """That of SAD + TV, as options of ``sad.minimize``."""
        return (
            adam(self.adam_steps) if self.tv_solver == "adam" else gauss_newton(self.newton_steps)
        )


def crop(photo: str, corner: tuple[int, int], side: int) -> np.ndarray:
    """A square of a photograph, float32[side, side, C]; ``corner`` is (x, y)."""
    x, y = corner
    image = sad.read_image(photo)
    if image.shape[0] < y + side or image.shape[1] < x + side:
        raise ValueError(f"expected a photo of {x + side}x{y + side} pixels, got {image.shape}")
    return image[y : y + side, x : x + side, :3]


def squared(picture: jax.Array, operator: jax.tree_util.Partial, data: jax.Array) -> jax.Array:
    """mean |A(c) - y|^2."""
    return jnp.mean((operator(picture) - data) ** 2)


def penalised(picture: jax.Array, operator, data: jax.Array, weight: float) -> jax.Array:
    """The same, and TV."""
    return squared(picture, operator, data) + weight * priors.total_variation(picture)


@cache
def adam(steps: int) -> dict:
    """``sad.minimize``'s own Adam, as its options."""
    rate = optax.cosine_decay_schedule(RATE, steps, 0.1)
    return {"steps": steps, "optimizer": sad.adam(rate)}


@cache
def gauss_newton(steps: int) -> dict:
    """Gauss-Newton, as options of ``sad.minimize``."""
    damping = optax.exponential_decay(DAMPING[0], steps, DAMPING[1] / DAMPING[0])
    return {"steps": steps, "optimizer": sad.gauss_newton(damping), "refresh_every": 1}


def run_sad(problem: Problem, settings: Settings, seed: int) -> Found:
    """The same loss over sites."""
    return minimize(problem, seed, settings.sites, squared, **adam(settings.adam_steps))


def run_ensemble(problem: Problem, settings: Settings, seed: int) -> Found:
    """TV's loss over sites, from several starts."""
    return ensemble(problem, settings, seed, penalised, settings.tv)


def ensemble(
    problem: Problem, settings: Settings, seed: int, loss: Callable, *weight: float, **options
) -> Found:
    """``sad.minimize_ensemble`` from starts as those of ``minimize``, by the settings' solver."""
    starts = jax.vmap(lambda key: even_sites(problem, settings.tv_sites, key))
    found = sad.minimize_ensemble(
        loss,
        starts(jax.random.split(jax.random.key(seed), settings.members)),
        problem.start.shape[:2],
        problem.operator,
        problem.data,
        *weight,
        num_sites=settings.tv_sites,
        color_range=(0.0, 1.0),
        **settings.solver() | options,
    )
    numbers = settings.members * settings.tv_sites * (PARAMETERS + problem.start.shape[2])
    return Found(found.mean, numbers, found.std, found.pictures[0])


def minimize(
    problem: Problem, seed: int, sites: int, loss: Callable, *weight: float, **options
) -> Found:
    """``sad.minimize`` from a quarter of the sites, spread evenly."""
    state = sad.minimize(
        loss,
        even_sites(problem, sites, jax.random.key(seed)),
        problem.start.shape[:2],
        problem.operator,
        problem.data,
        *weight,
        num_sites=sites,
        color_range=(0.0, 1.0),
        **options,
    )
    numbers = sites * (PARAMETERS + problem.start.shape[2])
    return Found(sad.render(state.sites, state.lists), numbers)


def even_sites(problem: Problem, sites: int, key: jax.Array) -> sad.Sites:
    """A quarter of the sites, spread evenly, in the colours of the first picture."""
    even = sad.init_sites(jnp.full_like(problem.start, 0.5), sites // 4, key=key)
    column, row = jnp.round(even.position).astype(int).T
    return even.replace(color=problem.start[row, column])


def with_params(
    loss: Callable, params: jax.Array, rate: float, problem: Problem, settings: Settings, seed: int
) -> sad.State:
    """Sites and other unknowns at once: ``loss`` of picture, params, data and the weight of TV."""
    return sad.minimize(
        loss,
        even_sites(problem, settings.tv_sites, jax.random.key(seed)),
        problem.start.shape[:2],
        problem.data,
        settings.tv,
        num_sites=settings.tv_sites,
        color_range=(0.0, 1.0),
        params=params,
        params_optimizer=optax.adam(rate),
        **adam(settings.adam_steps),
    )


def run_pixels(problem: Problem, settings: Settings, _) -> Found:
    """The same loss and steps, every pixel a free number in [0, 1]."""
    picture = _adam_on_pixels(problem.operator, problem.data, problem.start, settings.adam_steps)
    return Found(picture, problem.start.size)


@partial(jax.jit, static_argnames="steps")
def _adam_on_pixels(operator, data: jax.Array, start: jax.Array, steps: int) -> jax.Array:
    optimizer = optax.adam(optax.cosine_decay_schedule(PIXEL_RATE, steps, 0.1))

    def step(_, carry):
        picture, state = carry
        updates, state = optimizer.update(jax.grad(squared)(picture, operator, data), state)
        return jnp.clip(picture + updates, 0, 1), state

    return jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))[0]


def run_tv(problem: Problem, settings: Settings, _) -> Found:
    """mean |A(c) - y|^2 + tv * mean |grad c|, c in [0, 1], by Chambolle and Pock's algorithm."""
    picture = primal_dual(problem, priors.slopes, settings.tv, settings.tv_steps)
    return Found(picture, problem.start.size)


def primal_dual(problem: Problem, edges_of: Callable, weight: float, steps: int) -> jax.Array:
    """mean |A(c) - y|^2 + weight * mean |edges_of(c)|, |edges_of|^2 <= 8, c in [0, 1]."""
    weight = weight * problem.data.size / (problem.start.shape[0] * problem.start.shape[1])
    return _primal_dual(
        problem.operator, problem.data, problem.start, weight, edges_of=edges_of, steps=steps
    )


@partial(jax.jit, static_argnames=("edges_of", "steps"))
def _primal_dual(
    operator, data: jax.Array, start: jax.Array, weight: float, *, edges_of: Callable, steps: int
) -> jax.Array:
    backward = jax.linear_transpose(operator, start)
    across = jax.linear_transpose(edges_of, start)

    def power(_, c: jax.Array) -> jax.Array:  # of length one
        (image,) = backward(operator(c))
        return image / jnp.linalg.norm(image)

    largest = jax.lax.fori_loop(0, 30, power, start)
    norm = jnp.sqrt(jnp.linalg.norm(backward(operator(largest))[0]))  # of the operator
    tau, sigma = BALANCE / 3, 1 / (3 * BALANCE)  # |operator / norm|^2 + |edges_of|^2 <= 9

    def step(_, state):
        c, ahead, residual, edges = state
        residual = (residual + sigma * (operator(ahead) - data) / norm) / (1 + sigma / 2)
        edges = edges + sigma * edges_of(ahead)
        length = jnp.sqrt(jnp.sum(edges**2, (0, 3), keepdims=True))
        edges = edges / jnp.maximum(length * norm**2 / weight, 1)
        down = backward(residual)[0] / norm + across(edges)[0]
        new = jnp.clip(c - tau * down, 0, 1)
        return new, 2 * new - c, residual, edges

    state = start, start, jnp.zeros_like(data), jnp.zeros_like(edges_of(start))
    return jax.lax.fori_loop(0, steps, step, state)[0]


Method = Callable[[Problem, Settings, int], tuple]


def linear_methods(settings: Settings) -> dict[str, Method]:
    """Those that any linear operator has."""
    return {"SAD": run_sad} | with_tv(settings) | {"pixels, same loss": run_pixels}


def with_tv(settings: Settings) -> dict[str, Method]:
    """Those of them that have the total variation."""
    return {name_of_mean("SAD + TV", settings): run_ensemble, "TV": run_tv}


def name_of_mean(name: str, settings: Settings) -> str:
    """Of an ensemble; its first member alone is called by the name itself."""
    return f"{name}{MEAN}{settings.members}"


def arguments(settings: Settings, pictures: Sequence[str]) -> argparse.Namespace:
    """The command line that all problems share."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", default=pictures)
    parser.add_argument("--small", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--out", help="folder for NAME.json and NAME.png, of the first seed")
    for name, value in dataclasses.asdict(settings).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    if args.small:
        vars(args).update(SMALL, seeds=SEEDS[:1], photos=args.photos[:1])
    return args


def of_each(make: Callable[..., Problem], named: dict[str, Any] | None = None) -> Callable:
    """Problems by name, of pictures given in the command line: photographs, or names of others."""

    def problems(given: list[str]) -> dict[str, Callable[[int], Problem]]:
        if named is not None:
            return {name: partial(make, named[name]) for name in given}
        return {title_of(photo): partial(make, photo) for photo in given}

    return problems


def main(
    name: str,
    title: str,
    problems: Callable[[list[str]], dict[str, Callable[[int], Problem]]],
    methods: Callable[[Settings], dict[str, Method]],
    settings: Settings,
    pictures: Sequence[str] = PHOTOS,
) -> None:
    """All methods on all problems and seeds: a table; JSON and a montage in the folder ``out``.

    Args:
      name: of the files.
      title: of the kind of problem.
      problems: pictures of the command line -> by the picture's name, seed -> Problem.
      methods: settings -> by name, (problem, settings, seed) -> Found, or a tuple of its first
        fields.
      settings: unless the command line says otherwise.
      pictures: the same.
    """
    args = arguments(settings, pictures)
    settings = Settings(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Settings)})
    rows: list[dict] = []
    montage = []
    columns = ("problem", "picture", "method", "PSNR", "SSIM", "parameters", "seconds")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for picture_title, make in problems(args.photos).items():
        found: dict[str, list[dict]] = {}
        for seed in args.seeds:
            problem = make(seed)
            strip = [problem.truth, problem.shown]
            for method, solve in methods(settings).items():
                begin = time.process_time()
                one = Found(*jax.block_until_ready(solve(problem, settings, seed)))
                seconds = time.process_time() - begin
                if one.first is not None:
                    alone = {"parameters": one.parameters // settings.members}
                    alone |= problem.figures(one.first)
                    found.setdefault(method.partition(MEAN)[0], []).append(alone)
                figures = {"seconds": seconds, "parameters": one.parameters}
                found.setdefault(method, []).append(figures | problem.figures(one.picture, one.std))
                strip.append(np.clip(one.picture, 0, 1))
            if seed == args.seeds[0]:
                montage.append(strip)
        for method, figures in found.items():
            row = {"problem": title, "picture": picture_title, "method": method}
            for key in sorted(figures[0].keys() - {"parameters"}):
                values = [f[key] for f in figures]
                row |= {key: np.mean(values, 0).tolist(), f"{key}_by_seed": values}
            rows.append(row | {"parameters": figures[0]["parameters"]})
            spread = np.ptp(rows[-1]["psnr_by_seed"]) / 2
            seconds = f"{rows[-1]['seconds']:.1f}" if "seconds" in rows[-1] else ""
            print(
                "| {problem} | {picture} | {method} | {psnr:.2f} ± {spread:.2f} | {ssim:.3f} "
                "| {parameters:,} | ".format(spread=spread, **rows[-1])
                + f"{seconds} |",
                flush=True,
            )
        if args.out:  # after each picture, so that a run that is broken off leaves something
            path = Path(args.out) / name
            shared = {"levels": LEVELS, "shares": SHARES, "seeds": list(args.seeds), "rows": rows}
            write_report(f"{path}.json", **dataclasses.asdict(settings), **shared)
            sad.write_image(f"{path}.png", np.concatenate([_strip(row) for row in montage]))


def _strip(pictures: list[Picture]) -> np.ndarray:
    """Pictures side by side, each as high as the first: smaller ones enlarged by whole pixels."""
    height, width = np.shape(pictures[0])[:2]
    cells = []
    for picture in pictures:
        picture = np.clip(np.asarray(picture, np.float32), 0, 1)
        factor = max(1, min(height // picture.shape[0], width // picture.shape[1]))
        picture = picture.repeat(factor, 0).repeat(factor, 1)[:height, :width]
        shown = np.linspace(0, picture.shape[2] - 1, 3).astype(int)  # three of its channels
        picture = picture[..., shown]
        edge = [(0, GAP + height - picture.shape[0]), (0, GAP + width - picture.shape[1]), (0, 0)]
        cells.append(np.pad(picture, edge, constant_values=1))
    return np.concatenate(cells, 1)


def title_of(photo: str) -> str:
    return Path(photo).stem
