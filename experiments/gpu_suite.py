"""Everything that wants a GPU, in one command: equality, timings, fits. Under 8 minutes on an H200.

    python -m experiments.gpu_suite [PHOTO ...] [--json FILE] [--small] [--predict]

1. Each way to run a pass against plain XLA: relative error of values and gradients.
2. Each pass: milliseconds, and the share of the copy bandwidth measured in the same run, by the
   bytes that it must at least move.
3. Steps of both recipes; propagation; the exact search.
4. Fits of the photographs at 50,000 sites with both recipes: PSNR of the file, PSNR against time.

Without a photograph it takes the one in ``tests/data``. ``--small`` is for a CPU: interpreted
kernels, a corner of the picture, few sites and steps. ``--predict`` runs nothing and prints what
bytes, operations and launches let expect of an H200: predictions, not measurements.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import kernels_pallas
import sad_jax as sad
from experiments.machine import machine
from kernels_pallas.config import Launch
from sad_jax import losses, train
from sad_jax.cells import Grid
from sad_jax.gauss_newton import scale_by_gauss_newton
from sad_jax.io import read_image
from sad_jax.optim import paper_optimizer

PHOTO = "tests/data/kodim23_half.png"
WAYS = {  # gather of the rows, deterministic
    "pallas": ("inside", False),
    "pallas, gathered outside": ("outside", False),
    "pallas, sorted sums": ("inside", True),
}
ENTRIES = {"render": 0, "gradient": 10, "gradient and curvature": 50, "curvature in the plane": 3}


def least_bytes(name: str, cells: int, pixels: int, k: int, channels: int = 3) -> int:
    """What a pass must at least move: lists, corners, pictures, and slot sums out and in again."""
    pictures = channels if name == "render" else channels + 1
    return 4 * (cells * (k + 2) + pixels * pictures + 2 * cells * k * ENTRIES[name])


def milliseconds(function: Callable, *args, repeats: int = 20) -> float:
    """Median wall time of a call, compiled before."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def copy_bandwidth(megabytes: int) -> float:
    """Bytes a second of a copy, read and written."""
    array = jnp.zeros(megabytes * 2**18, jnp.float32)
    return 2 * array.nbytes / milliseconds(jax.jit(lambda a: a + 1), array) * 1e3


class Bench:
    """Passes over one photograph by one implementation."""

    def __init__(self, photo: jax.Array, sites: int, implementation: str, deterministic=False):
        self.shape = photo.shape[:2]
        self.grid, self.name = Grid(*self.shape, 1), implementation
        self.sites = sad.init_sites(photo, sites, key=jax.random.key(0))
        self.lists = sad.find_candidates(self.sites, self.shape)
        options = {"implementation": implementation, "deterministic": deterministic}
        self.target = losses.make_target(self.grid, photo, **options)
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(2, 6 + photo.shape[-1], sites))
        self.vectors = jnp.asarray(vectors, jnp.float32)

    def passes(self) -> dict[str, Callable]:
        ids, target = self.lists.ids, self.target
        draw = partial(sad.render, lists=self.lists, implementation=self.name)
        known = lambda sites: (self.grid, sites, ids, target)  # noqa: E731
        functions = {
            "render": draw,
            "gradient": lambda s: losses.gradient(*known(s)),
            "gradient and curvature": lambda s: losses.gradient_and_curvature(*known(s)),
            "curvature in the plane": lambda s: losses.curvature_gram(*known(s), self.vectors),
        }
        return {name: jax.jit(function) for name, function in functions.items()}

    def steps(self) -> dict[str, tuple[Callable, int]]:
        """Functions without arguments, and how many steps each of them does."""
        state = partial(
            train.FitState,
            sites=self.sites,
            alive=jnp.ones(self.sites.num_sites, bool),
            lists=self.lists,
            step=jnp.int32(0),
            key=jax.random.key(0),
            mse=jnp.float32(0),
        )
        newton = state(optimizer=scale_by_gauss_newton().init(self.sites))
        adam = state(optimizer=paper_optimizer().init(self.sites))

        find = partial(sad.find_candidates, self.sites, self.shape)
        move = partial(sad.propagate, self.lists, self.sites, key=jax.random.key(1))
        return {
            "gauss-newton step": (
                lambda: (
                    train.run_gauss_newton(newton, self.target, jnp.int32(5), jnp.float32(0.3)).mse
                ),
                5,
            ),
            "paper step": (
                lambda: train.run_adam(adam, self.target, jnp.int32(40), jnp.float32(4000)).mse,
                40,
            ),
            "propagation": (lambda: move(implementation=self.name).ids, 1),
            "exact search": (lambda: find(implementation=self.name).ids, 1),
        }


def relative_error(found, expected) -> float:
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(
        float(jnp.linalg.norm(a - b) / jnp.maximum(jnp.linalg.norm(b), 1e-20)) for a, b in pairs
    )


def measure(photo: jax.Array, sites: int, small: bool) -> dict:
    """Parts 1 to 3."""
    bandwidth = copy_bandwidth(16 if small else 1024)
    repeats, kernels = (2, "pallas_interpret") if small else (20, "pallas")
    plain = Bench(photo, sites, "xla_vjp")
    pixels = plain.grid.height * plain.grid.width
    expected = {name: f(plain.sites) for name, f in plain.passes().items()}
    rows, steps = [], []
    ways = {"xla": ("", False), **WAYS}
    if small:
        del ways["pallas, gathered outside"]
    for way, (gather, deterministic) in ways.items():
        jax.clear_caches()  # the launch is no argument
        if gather:
            launched(gather, small)
        bench = plain if way == "xla" else Bench(photo, sites, kernels, deterministic)
        for name, function in bench.passes().items():
            error = relative_error(function(bench.sites), expected[name])
            spent = milliseconds(function, bench.sites, repeats=repeats)
            moved = least_bytes(name, pixels, pixels, bench.lists.k, photo.shape[-1])
            share = moved / (spent / 1e3) / bandwidth
            rows.append(
                {"way": way, "pass": name, "milliseconds": spent, "relative_error": error}
                | {"least_megabytes": moved / 1e6, "share_of_copy_bandwidth": share}
            )
            print(f"{spent:10.3f} ms {share:7.1%} {error:9.1e}  {name}, {way}", flush=True)
        for name, (function, count) in bench.steps().items():
            spent = milliseconds(function, repeats=repeats) / count
            steps.append({"way": way, "step": name, "milliseconds": spent})
            print(f"{spent:10.3f} ms {'':18} {name}, {way}", flush=True)
    launched("inside", small)
    return {"copy_bytes_per_second": bandwidth, "passes": rows, "steps": steps}


def launched(gather: str, small: bool) -> None:
    """Sets how kernels are launched from here on."""
    if small:
        kernels_pallas.INTERPRETED = Launch(lanes=8192, interpret=True, gather=gather)
    else:
        kernels_pallas.Launch = partial(Launch, gather=gather)


def fits(photos: list[str], sites: int, small: bool, seconds: float) -> list[dict]:
    """Part 4; a photograph whose turn comes after so many seconds is left out, and named."""
    rows, begin = [], time.monotonic()
    for path in photos:
        for recipe in ("fast", "paper"):
            row: dict = {"photo": Path(path).stem, "recipe": recipe, "sites": sites}
            if time.monotonic() - begin > seconds:
                rows.append(row | {"left_out": "no time"})
                continue
            photo = read_image(path)[:32, :48] if small else read_image(path)
            config = sad.FitConfig(num_sites=sites, recipe=recipe, steps=4 if small else None)
            result = sad.fit(photo, config, key=jax.random.key(0))
            curve = {name: result.history[name] for name in ("seconds", "psnr")}
            row |= {name: getattr(result, name) for name in ("psnr", "ssim", "seconds", "steps")}
            row |= {"compile_seconds": result.compile_seconds, "curve": curve}
            rows.append(row | {"implementation": result.implementation})
            print(f"{row['psnr']:10.2f} dB {row['seconds']:8.2f} s  {path}, {recipe}", flush=True)
    return rows


def predict() -> dict:
    """Milliseconds at 768x512, 50,000 sites, K = 8, cells of 1, on an H200: from assumptions.

    A kernel reaches half of a copy's 4.3 TB/s; the L2 cache takes 1e11 atomic additions of floats a
    second; a sort of pairs takes 0.25 ns a slot; a launch costs 3 us, and a step has about 60 of
    them, a pass 8.
    """
    pixels, k, launch = 768 * 512, 8, 3e-3
    rows = {}
    for name, entries in ENTRIES.items():
        memory = least_bytes(name, pixels, pixels, k) / (0.5 * 4.3e12) * 1e3
        atomics = pixels * k * entries / 1e11 * 1e3
        rows[name] = {"sorted sums, sort not counted": memory + 8 * launch}
        rows[name]["atomic additions"] = memory + atomics + 8 * launch
    sort = pixels * k * 0.25e-6
    kinds = list(rows["gradient"])
    for kind, extra in zip(kinds, (sort, 0.0), strict=True):
        both = rows["gradient and curvature"][kind] + rows["curvature in the plane"][kind]
        step = both - 16 * launch + extra + 60 * launch
        rows.setdefault("gauss-newton step", {})[kind] = step
        paper = rows["gradient"][kind] - 8 * launch + extra + 60 * launch
        rows.setdefault("paper step", {})[kind] = paper
    return {"prediction": True, "doc": predict.__doc__, "sort": sort, "milliseconds": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", default=[PHOTO])
    parser.add_argument("--json")
    parser.add_argument("--sites", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=300, help="for the fits, all together")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--predict", action="store_true")
    args = parser.parse_args()
    if args.predict:
        report = predict()
        for name, values in report["milliseconds"].items():
            print("  ".join([f"{v:8.3f} ms ({kind})" for kind, v in values.items()]), name)
    else:
        photo = jnp.asarray(read_image(args.photos[0]))
        photo, sites = (photo[:32, :48], 100) if args.small else (photo, args.sites)
        report = measure(photo, sites, args.small)
        report["fits"] = fits(args.photos, sites, args.small, args.seconds)
        for row in report["passes"]:
            print(f"| {row['pass']} | {row['way']} | {row['milliseconds']:.3f} ms |")
    if args.json:
        Path(args.json).write_text(json.dumps(machine() | report, indent=1))


if __name__ == "__main__":
    main()
