"""Deformable registration by ``query``: a smooth displacement between two noisy pictures.

    python -m experiments.inverse.registration [PHOTO ...] --out FOLDER

Both pictures, A(x) and B(x) = A(x + u(x)), are averages of a picture twice as fine, and have noise.
u is a sum of cubic B-splines on a grid of control points; Gauss-Newton minimises the difference of
A(x + u) to B and the bending of the grid. A between its pixels is what differs: sites fitted to it,
asked by ``query``, or its pixels, smoothed or not, by a cubic spline (Lucas and Kanade 1981). All
of these start from u of both pictures smoothed. Beside them scikit-image's optical flows: iterative
Lucas-Kanade and TV-L1. The error is the root mean square length of what u is off, in pixels.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.registration import optical_flow_ilk, optical_flow_tvl1

import sad_jax as sad
from experiments.inverse.common import PHOTOS, SEEDS, crop, title_of
from experiments.machine import table, write_report

SIDE, CORNER = 96, (118, 20)  # of the pictures; of their finer one with its margin
MARGIN = 6  # pixels at the borders that are not compared: what they show may lie outside
NOISE = 0.03  # standard deviation, of both pictures
LARGEST = 3.0  # length of the displacement, in pixels
SPACING = 12  # of the control points, in pixels
BENDING = 1e-7  # weight of the grid's second differences
ROUNDS, SMALL_ROUNDS = 8, 2  # of Gauss-Newton
SITES, STEPS, SMALL_STEPS = 800, 60, 20  # of the fit to A
COARSE = 2.5  # smoothing of the pictures from which the others start, in pixels
SMOOTHING = 0.7  # of pixels that are smoothed
RADIUS = 7  # of iterative Lucas-Kanade's Gaussian window
ATTACHMENT = 40.0  # of TV-L1
COLUMNS = ("picture", "method", "error", "error_by_seed", "seconds")

Sample = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # points -> colours, their slopes


def field(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """u at points (x, y), float[..., 2]: a few waves of up to one and a half periods."""
    waves, phases = rng.uniform(-1.5, 1.5, (2, 5, 2)), rng.uniform(0, 2 * np.pi, (2, 5))
    weights = rng.normal(size=(2, 5))
    angles = 2 * np.pi * np.einsum("...p,dwp->...dw", points / SIDE, waves) + phases
    return np.sum(weights * np.sin(angles), -1)


def centres(margin: int, finer: int = 1) -> np.ndarray:
    """Centres (x, y) of all pixels but those of a margin, float[n, n, 2], in pixels."""
    along = (np.arange(margin * finer, (SIDE - margin) * finer) + 0.5) / finer - 0.5
    return np.stack(np.meshgrid(along, along), -1)


def pair(photo: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, B float32[SIDE, SIDE, C] and u float[SIDE, SIDE, 2]."""
    rng = np.random.default_rng(seed)
    fine = crop(photo, CORNER, 2 * (SIDE + 2 * MARGIN))
    points = centres(0, finer=2)
    wave_seed = int(rng.integers(2**32))
    largest = np.abs(np.hypot(*np.moveaxis(field(np.random.default_rng(wave_seed), points), -1, 0)))
    scale = LARGEST / largest.max()
    u = lambda at: scale * field(np.random.default_rng(wave_seed), at)  # noqa: E731

    def seen(at: np.ndarray) -> np.ndarray:
        within = 2 * (at + MARGIN + 0.5) - 0.5  # pixels of the finer picture
        picture = splined(fine, within).reshape(SIDE, 2, SIDE, 2, -1).mean((1, 3))
        return (picture + NOISE * rng.normal(size=picture.shape)).astype(np.float32)

    return seen(points), seen(points + u(points)), u(centres(0))


def splined(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture at points (x, y) by a cubic spline, float[..., C]."""
    at = np.moveaxis(points[..., ::-1], -1, 0)
    channels = np.moveaxis(picture, -1, 0)
    return np.stack([map_coordinates(c, at, order=3, mode="nearest") for c in channels], -1)


def by_pixels(picture: np.ndarray) -> Sample:
    """A between its pixels by a cubic spline, and the spline's slopes."""

    def sample(points: np.ndarray):
        ahead = [splined(picture, points + step) for step in 0.1 * np.eye(2)]
        behind = [splined(picture, points - step) for step in 0.1 * np.eye(2)]
        return splined(picture, points), (np.stack(ahead, -1) - np.stack(behind, -1)) / 0.2

    return sample


def by_sites(sites: sad.Sites) -> Sample:
    """A between its pixels by ``query``, and its derivatives there."""

    @jax.jit
    def sample(points: jax.Array):
        at = lambda points: sad.query(sites, (SIDE, SIDE), points)  # noqa: E731
        sides = jnp.broadcast_to(jnp.eye(2)[:, None, None], (2, *points.shape))
        slopes = [jax.jvp(at, (points,), (side,))[1] for side in sides]
        return at(points), jnp.stack(slopes, -1)

    return lambda points: tuple(map(np.asarray, sample(jnp.asarray(points, jnp.float32))))


def splines() -> np.ndarray:
    """Cubic B-splines of the control points along an axis, at the pixels, float[SIDE, n]."""
    knots = np.arange(-3, SIDE // SPACING + 5) * SPACING - SPACING / 2
    return BSpline.design_matrix(np.arange(SIDE, dtype=float), knots, 3).toarray()


def registered(sample: Sample, b: np.ndarray, controls: np.ndarray, rounds: int) -> np.ndarray:
    """Gauss-Newton from the control points float[2, n, n]; those where it ends."""
    basis, inner = splines(), slice(MARGIN, SIDE - MARGIN)
    within = basis[inner]
    both = np.einsum("yi,xj->yxij", within, within).reshape(len(within) ** 2, -1)
    second = np.diff(np.eye(basis.shape[1]), 2, axis=0)
    one = np.eye(basis.shape[1])
    bend = np.concatenate([np.kron(second, one), np.kron(one, second)])
    bend = np.kron(np.eye(2), BENDING * bend.T @ bend)
    points, target = centres(MARGIN), b[inner, inner]
    for _ in range(rounds):
        u = np.moveaxis(within @ controls @ within.T, 0, -1)
        colors, slopes = sample(points + u)
        error = (colors - target).reshape(len(both), -1)
        slopes = slopes.reshape(len(both), -1, 2)
        products = np.einsum("pcd,pce->pde", slopes, slopes) / error.size
        matrix = np.block(
            [[(both * products[:, d, e, None]).T @ both for e in range(2)] for d in range(2)]
        )
        pull = np.einsum("pcd,pc->dp", slopes, error) @ both / error.size
        slope = pull.ravel() + bend @ controls.ravel()
        controls = controls - np.linalg.solve(matrix + bend, slope).reshape(controls.shape)
    return controls


def displacement(controls: np.ndarray) -> np.ndarray:
    """u at the pixels, float[SIDE, SIDE, 2]."""
    return np.moveaxis(splines() @ controls @ splines().T, 0, -1)


def smoothed(picture: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(picture, (sigma, sigma, 0))


def from_pixels(sigma: float, rounds: int, a: np.ndarray, b: np.ndarray, _: int) -> np.ndarray:
    start = coarse(rounds, a, b)
    sample = by_pixels(smoothed(a, sigma))
    return displacement(registered(sample, smoothed(b, sigma), start, rounds))


def from_sites(
    sites: int, steps: int, rounds: int, a: np.ndarray, b: np.ndarray, seed: int
) -> np.ndarray:
    config = sad.FitConfig(num_sites=sites, steps=steps)
    fitted = sad.fit(np.clip(a, 0, 1), config, key=jax.random.key(seed)).sites
    return displacement(registered(by_sites(fitted), b, coarse(rounds, a, b), rounds))


def coarse(rounds: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Control points from both pictures smoothed."""
    count = splines().shape[1]
    sample = by_pixels(smoothed(a, COARSE))
    return registered(sample, smoothed(b, COARSE), np.zeros((2, count, count)), rounds)


def by_flow(flow: Callable, a: np.ndarray, b: np.ndarray, _: int) -> np.ndarray:
    """scikit-image's, of gray pictures; its flows are (dy, dx)."""
    return np.stack(flow(b.mean(-1), a.mean(-1))[::-1], -1)


def methods(small: bool) -> dict[str, Callable]:
    rounds, steps = (SMALL_ROUNDS, SMALL_STEPS) if small else (ROUNDS, STEPS)
    return {
        "sites, query": partial(from_sites, SITES, steps, rounds),
        "pixels, cubic spline": partial(from_pixels, 0.0, rounds),
        "pixels, smoothed": partial(from_pixels, SMOOTHING, rounds),
        "both smoothed, the start": lambda a, b, _: displacement(coarse(rounds, a, b)),
        "iterative Lucas-Kanade": partial(
            by_flow, partial(optical_flow_ilk, radius=RADIUS, gaussian=True)
        ),
        "TV-L1": partial(by_flow, partial(optical_flow_tvl1, attachment=ATTACHMENT)),
        "no displacement": lambda a, b, _: np.zeros((SIDE, SIDE, 2)),
    }


def off(found: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square length of the difference, in pixels, without the margin."""
    inner = slice(MARGIN, SIDE - MARGIN)
    return float(np.sqrt(np.mean(np.sum((found - truth)[inner, inner] ** 2, -1))))


def draw(path: Path, strips: list[tuple]) -> None:
    """Of each photo both pictures, the true displacement, and how far each method is off."""
    columns = 2 + len(strips[0][3])
    size = (2.2 * columns, 2.6 * len(strips))
    figure, axes = plt.subplots(len(strips), columns, figsize=size, squeeze=False)
    places = centres(MARGIN)[::10, ::10]
    x, y = np.moveaxis(places, -1, 0)
    for row, (a, b, truth, found) in zip(axes, strips, strict=True):
        for axis, title, picture in zip(row, ("A, and u", "B(x) = A(x + u)"), (a, b), strict=False):
            axis.imshow(np.clip(picture, 0, 1))
            axis.set_title(title, fontsize=8)
        dx, dy = truth[y.astype(int), x.astype(int)].T
        arrows = {"color": "w", "angles": "xy", "scale_units": "xy", "scale": 0.5}
        row[0].quiver(x, y, dx.T, dy.T, **arrows)
        for axis, (method, u) in zip(row[2:], found.items(), strict=True):
            length = np.hypot(*np.moveaxis(u - truth, -1, 0))
            shown = axis.imshow(length, vmin=0, vmax=1, cmap="magma")
            axis.set_title(f"{method}\n{off(u, truth):.2f} px", fontsize=8)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes, label="pixels off", fraction=0.01)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", default=PHOTOS)
    parser.add_argument("--small", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--out", required=True, help="folder for the JSON file and the figure")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    photos, seeds = (args.photos[:1], args.seeds[:1]) if args.small else (args.photos, args.seeds)
    rows, strips, show, path = [], [], table(COLUMNS), f"{args.out}/inverse_registration"
    for photo in photos:
        errors, seconds = defaultdict(list), defaultdict(list)
        for seed in seeds:
            a, b, truth = pair(photo, seed)
            found = {}
            for method, solve in methods(args.small).items():
                begin = time.process_time()
                found[method] = solve(a, b, seed)
                seconds[method].append(time.process_time() - begin)
                errors[method].append(off(found[method], truth))
            if seed == seeds[0]:
                strips.append((a, b, truth, found))
        for method, by_seed in errors.items():
            row = {"picture": title_of(photo), "method": method, "error": float(np.mean(by_seed))}
            row |= {"error_by_seed": by_seed, "seconds": float(np.mean(seconds[method]))}
            rows.append(row)
            show(row)
    write_report(f"{path}.json", seeds=list(seeds), rows=rows)
    draw(Path(f"{path}.png"), strips)


if __name__ == "__main__":
    main()
