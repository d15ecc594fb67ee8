"""What the inverse problems share: the methods that fit any linear operator, figures, pictures.

A problem is data y = A(truth) + noise. Four methods know nothing more. SAD and a grid of pixels
minimise the same loss, mean |A(c) - y|^2, with Adam in the same number of steps. TV adds the total
variation: over pixels by a primal-dual algorithm, over sites by Adam or Gauss-Newton. None looks at
the truth: steps and settings are fixed beforehand.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sad_jax as sad
from experiments.machine import write_report
from sad_jax.metrics import psnr, ssim

STEPS = 300  # of Adam, for SAD and for pixels
RATE = 4.0  # times the published rates, at the start
NEWTON_STEPS = 60  # of Gauss-Newton,
DAMPING = (0.1, 0.01)  # from its first to its last
PIXEL_RATE = 0.01  # of Adam on pixels, falling like that of SAD
TV_STEPS = 1000  # of the primal-dual algorithm,
TV_BALANCE = 10.0  # its primal step over its dual one, square root
ROUNDING = 1e-3  # of the gradient's length in the TV that SAD sees
PARAMETERS = 7  # of a site, besides its colours
MEMBERS = 4  # of an ensemble
SEEDS = (0, 1, 2)
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

    def figures(self, picture: Picture, std: Picture | None = None) -> dict[str, float]:
        """Of what is scored; of an ensemble also how its spread and its error go together."""
        picture, truth = np.clip(picture, 0, 1), np.asarray(self.truth)
        figures = {"psnr": psnr(picture, truth), "ssim": ssim(picture, truth)}
        counts = np.full(truth.shape[:2], True) if self.counts is None else np.asarray(self.counts)
        if self.counts is not None:
            figures["psnr"] = psnr(picture[counts][None], truth[counts][None])
        if std is not None:
            error = np.sqrt(np.mean((picture - truth) ** 2, axis=-1))[counts]
            spread = np.sqrt(np.mean(np.asarray(std) ** 2, axis=-1))[counts]
            figures["correlation"] = float(np.corrcoef(error, spread)[0, 1])
            figures["within_two_stds"] = float(np.mean(error <= 2 * spread))
        return figures


@dataclasses.dataclass(frozen=True)
class Settings:
    """What was chosen for a problem, on other pictures than those of the table."""

    sites: int  # of SAD
    tv: float  # weight of the total variation
    tv_sites: int  # of SAD + TV: with another prior beside them, sites need not be few
    tv_solver: str  # of SAD + TV, a key of SOLVERS


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
    return squared(picture, operator, data) + weight * variation(picture)


def adam(steps: int) -> dict:
    """``sad.minimize``'s own Adam, as its options."""
    rate = optax.cosine_decay_schedule(RATE, steps, 0.1)
    return {"steps": steps, "optimizer": sad.adam(rate)}


def gauss_newton(steps: int) -> dict:
    """Gauss-Newton, as options of ``sad.minimize``."""
    damping = optax.exponential_decay(DAMPING[0], steps, DAMPING[1] / DAMPING[0])
    return {"steps": steps, "optimizer": sad.gauss_newton(damping), "refresh_every": 1}


SOLVERS = {"adam": adam(STEPS), "gauss_newton": gauss_newton(NEWTON_STEPS)}


def run_sad(problem: Problem, settings: Settings, seed: int) -> tuple[jax.Array, int]:
    """The same loss over sites."""
    return minimize(problem, seed, settings.sites, squared, **SOLVERS["adam"])


def run_sad_tv(problem: Problem, settings: Settings, seed: int) -> tuple[jax.Array, int]:
    """TV's loss over sites."""
    solver = SOLVERS[settings.tv_solver]
    return minimize(problem, seed, settings.tv_sites, penalised, settings.tv, **solver)


def run_ensemble(problem: Problem, settings: Settings, seed: int) -> tuple[jax.Array, ...]:
    """The mean of TV's loss over sites from several starts, and their standard deviation."""
    starts = jax.vmap(lambda key: even_sites(problem, settings.tv_sites, key))
    found = sad.minimize_ensemble(
        penalised,
        starts(jax.random.split(jax.random.key(seed), MEMBERS)),
        problem.start.shape[:2],
        problem.operator,
        problem.data,
        settings.tv,
        num_sites=settings.tv_sites,
        color_range=(0.0, 1.0),
        **SOLVERS[settings.tv_solver],
    )
    numbers = MEMBERS * settings.tv_sites * (PARAMETERS + problem.start.shape[2])
    return found.mean, numbers, found.std


def minimize(
    problem: Problem, seed: int, sites: int, loss: Callable, *weight: float, **options
) -> tuple[jax.Array, int]:
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
    return sad.render(state.sites, state.lists), numbers


def even_sites(problem: Problem, sites: int, key: jax.Array) -> sad.Sites:
    """A quarter of the sites, spread evenly, in the colours of the first picture."""
    even = sad.init_sites(jnp.full_like(problem.start, 0.5), sites // 4, key=key)
    column, row = jnp.round(even.position).astype(int).T
    return even.replace(color=problem.start[row, column])


def slopes(picture: jax.Array) -> jax.Array:
    """Differences to the pixels below and to the right, float[2, H, W, C]."""
    down = jnp.diff(picture, axis=0, append=picture[-1:])
    return jnp.stack([down, jnp.diff(picture, axis=1, append=picture[:, -1:])])


def variation(picture: jax.Array) -> jax.Array:
    """Mean |grad c|, one length for all channels; rounded off at zero, for gradients.

    Its second derivative is that of the quadratic which touches it from above.
    """
    squared = jnp.sum(slopes(picture) ** 2, (0, 3)) + ROUNDING**2
    length = jax.lax.stop_gradient(jnp.sqrt(squared))
    return jnp.mean(squared / length + length) / 2


def run_pixels(problem: Problem, *_) -> tuple[jax.Array, int]:
    """The same loss and steps, every pixel a free number in [0, 1]."""
    optimizer = optax.adam(optax.cosine_decay_schedule(PIXEL_RATE, STEPS, 0.1))

    @jax.jit
    def run(picture: jax.Array) -> jax.Array:
        def step(_, carry):
            picture, state = carry
            gradient = jax.grad(squared)(picture, problem.operator, problem.data)
            updates, state = optimizer.update(gradient, state)
            return jnp.clip(picture + updates, 0, 1), state

        return jax.lax.fori_loop(0, STEPS, step, (picture, optimizer.init(picture)))[0]

    return run(problem.start), problem.start.size


def run_tv(problem: Problem, settings: Settings, _) -> tuple[jax.Array, int]:
    """mean |A(c) - y|^2 + tv * mean |grad c|, c in [0, 1], by Chambolle and Pock's algorithm."""
    weight = settings.tv * problem.data.size / (problem.start.shape[0] * problem.start.shape[1])
    return _primal_dual(problem.operator, problem.data, problem.start, weight), problem.start.size


@jax.jit
def _primal_dual(operator, data: jax.Array, start: jax.Array, weight: float) -> jax.Array:
    backward = jax.linear_transpose(operator, start)
    across = jax.linear_transpose(slopes, start)

    def power(_, c: jax.Array) -> jax.Array:  # of length one
        (image,) = backward(operator(c))
        return image / jnp.linalg.norm(image)

    largest = jax.lax.fori_loop(0, 30, power, start)
    norm = jnp.sqrt(jnp.linalg.norm(backward(operator(largest))[0]))  # of the operator
    tau, sigma = TV_BALANCE / 3, 1 / (3 * TV_BALANCE)  # |operator / norm|^2 + |slopes|^2 <= 9

    def step(_, state):
        c, ahead, residual, edges = state
        residual = (residual + sigma * (operator(ahead) - data) / norm) / (1 + sigma / 2)
        edges = edges + sigma * slopes(ahead)
        length = jnp.sqrt(jnp.sum(edges**2, (0, 3), keepdims=True))
        edges = edges / jnp.maximum(length * norm**2 / weight, 1)
        down = backward(residual)[0] / norm + across(edges)[0]
        new = jnp.clip(c - tau * down, 0, 1)
        return new, 2 * new - c, residual, edges

    state = start, start, jnp.zeros_like(data), jnp.zeros_like(slopes(start))
    return jax.lax.fori_loop(0, TV_STEPS, step, state)[0]


METHODS = {
    "SAD": run_sad,
    "SAD + TV": run_sad_tv,
    f"SAD + TV, mean of {MEMBERS}": run_ensemble,
    "pixels, same loss": run_pixels,
    "TV": run_tv,
}


def arguments(description: str, settings: Settings, photos: list[str]) -> argparse.Namespace:
    """The command line that all problems share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("photos", nargs="*", default=photos)
    for name, value in dataclasses.asdict(settings).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--json")
    parser.add_argument("--montage", help="PNG of the first seed")
    return parser.parse_args()


def run(
    name: str,
    problems: dict[str, Callable[[int], Problem]],
    others: dict[str, Callable[[Problem, Settings, int], tuple[Picture, int]]],
    args: argparse.Namespace,
) -> None:
    """All methods on all problems and seeds: a table, JSON and a montage.

    Args:
      name: of the kind of problem.
      problems: by the picture's name, seed -> Problem.
      others: further methods, (problem, settings, seed) -> (picture, number of parameters).
      args: of ``arguments``.
    """
    settings = Settings(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Settings)})
    rows, montage = [], []
    columns = ("problem", "picture", "method", "PSNR", "SSIM", "parameters", "seconds")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for title, make in problems.items():
        found: dict[str, list[dict]] = {}
        for seed in args.seeds:
            problem = make(seed)
            strip = [problem.truth, problem.shown]
            for method, solve in {**METHODS, **others}.items():
                begin = time.process_time()
                picture, parameters, *std = jax.block_until_ready(solve(problem, settings, seed))
                seconds = time.process_time() - begin
                figures = problem.figures(picture, *std)
                figures |= {"seconds": seconds, "parameters": parameters}
                found.setdefault(method, []).append(figures)
                strip.append(np.clip(picture, 0, 1))
            if seed == args.seeds[0]:
                montage.append(strip)
        for method, figures in found.items():
            row = {"problem": name, "picture": title, "method": method}
            for key in figures[0].keys() - {"parameters"}:
                values = [f[key] for f in figures]
                row |= {key: float(np.mean(values)), f"{key}_by_seed": values}
            rows.append(row | {"parameters": figures[0]["parameters"]})
            spread = np.ptp(rows[-1]["psnr_by_seed"]) / 2
            print(
                "| {problem} | {picture} | {method} | {psnr:.2f} ± {spread:.2f} | {ssim:.3f} "
                "| {parameters} | {seconds:.1f} |".format(spread=spread, **rows[-1]),
                flush=True,
            )
    write_report(args.json, **dataclasses.asdict(settings), seeds=list(args.seeds), rows=rows)
    if args.montage:
        sad.write_image(args.montage, np.concatenate([_strip(row) for row in montage]))


def _strip(pictures: list[Picture]) -> np.ndarray:
    """Pictures side by side, each as high as the first: smaller ones enlarged by whole pixels."""
    height, width = np.shape(pictures[0])[:2]
    cells = []
    for picture in pictures:
        picture = np.clip(np.asarray(picture, np.float32), 0, 1)
        factor = max(1, min(height // picture.shape[0], width // picture.shape[1]))
        picture = picture.repeat(factor, 0).repeat(factor, 1)[:height, :width]
        picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
        edge = [(0, GAP + height - picture.shape[0]), (0, GAP + width - picture.shape[1]), (0, 0)]
        cells.append(np.pad(picture, edge, constant_values=1))
    return np.concatenate(cells, 1)


def title_of(photo: str) -> str:
    return Path(photo).stem
