"""Everything that wants a GPU, in one command: equality, timings, fits. Under 8 minutes on an H200.

    python -m experiments.gpu_suite [PHOTO ...] [--json FILE] [--small] [--predict]

1. Each way to run a pass against plain XLA: relative error of values and gradients.
2. Each pass: milliseconds, and the share of the copy bandwidth measured in the same run, by the
   bytes that it must at least move; and how many times as long it takes gathered outside, and with
   slot sums and atomic additions.
3. Steps of both recipes; turning the lists around; propagation; the exact search.
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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kernels_pallas
import sad_jax as sad
from experiments.machine import machine
from kernels_pallas.config import Launch
from sad_jax import losses, train
from sad_jax.cells import Grid
from sad_jax.fast import LISTS_EVERY
from sad_jax.gauss_newton import no_step
from sad_jax.io import read_image
from sad_jax.optim import paper_optimizer
from sad_jax.passes import Lists, make_ready

PHOTO = "tests/data/kodim23_half.png"
WAYS = {  # gather of the rows, deterministic
    "pallas": ("inside", True),
    "pallas, gathered outside": ("outside", True),
    "pallas, atomic additions": ("inside", False),
}


class Pass(NamedTuple):
    """What a pass asks of the kernels: see ``kernels_pallas/by_site.py`` and ``fit_step.py``.

    ``entries``: what a site receives; ``known``: channels that the blend writes out for the sites,
    the second weighted sum's among them; operations: ``blend`` and ``slot``, of a site on a pixel.
    """

    entries: int
    known: int
    blend: int
    slot: int


PASSES = {  # for three channels
    "render": Pass(0, 3, blend=36, slot=0),
    "gradient": Pass(10, 5, blend=36, slot=100),
    "gradient and curvature": Pass(50, 5, blend=36, slot=200),
    "change of the picture": Pass(0, 6, blend=86, slot=0),
}


class Size(NamedTuple):
    """Of a picture with cells of one pixel and three channels, and its diagram."""

    pixels: int
    k: int
    sites: int

    def blend_bytes(self, written: int) -> int:
        """Lists, corners and what is written out."""
        return 4 * self.pixels * (self.k + 2 + written)

    def site_bytes(self, work: Pass) -> int:
        """Cells in the order of the sites, corners, what is known of pixels, pictures; sums."""
        return 4 * (self.pixels * (self.k + 2 + work.known + 4) + self.sites * work.entries)

    def least_bytes(self, work: Pass, deterministic: bool) -> int:
        """What a pass must at least move."""
        if not work.entries:
            return self.blend_bytes(3)
        if deterministic:
            return self.blend_bytes(work.known) + self.site_bytes(work)
        slot_sums = 2 * self.pixels * self.k * work.entries  # out and in again
        return self.blend_bytes(0) + 4 * (4 * self.pixels + slot_sums)


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

    def __init__(self, photo: jax.Array, sites: int, implementation: str, deterministic: bool):
        self.shape = photo.shape[:2]
        self.grid, self.name = Grid(*self.shape, 1), implementation
        self.sites = sad.init_sites(photo, sites, key=jax.random.key(0))
        self.lists = sad.find_candidates(self.sites, self.shape)
        options = {"implementation": implementation, "deterministic": deterministic}
        self.target = losses.make_target(self.grid, photo, **options)
        rng = np.random.default_rng(0)
        vector = rng.normal(size=(6 + photo.shape[-1], sites))
        self.vector = jnp.asarray(vector, jnp.float32)

    def ready(self) -> Lists:
        """The lists made ready for any number of passes."""
        known = self.lists.ids, self.sites, self.name, self.target.deterministic
        return jax.jit(make_ready, static_argnums=(2, 3))(*known)

    def passes(self) -> dict[str, Callable]:
        ids, target = self.ready(), self.target
        draw = partial(sad.render, lists=self.lists, implementation=self.name)
        known = lambda sites: (self.grid, sites, ids, target)  # noqa: E731
        functions = {
            "render": draw,
            "gradient": lambda s: losses.gradient(*known(s)),
            "gradient and curvature": lambda s: losses.gradient_and_curvature(*known(s)),
            "change of the picture": lambda s: losses.change_of_picture(*known(s), self.vector),
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
        newton = state(optimizer=no_step(self.sites))
        adam = state(optimizer=paper_optimizer().init(self.sites))

        find = partial(sad.find_candidates, self.sites, self.shape)
        move = partial(sad.propagate, self.lists, self.sites, key=jax.random.key(1))
        return {
            "gauss-newton step": (
                lambda: (
                    train.run_gauss_newton(
                        newton, self.target, jnp.int32(LISTS_EVERY), jnp.float32(0.3)
                    ).mse
                ),
                LISTS_EVERY,
            ),
            "paper step": (
                lambda: train.run_adam(adam, self.target, jnp.int32(40), jnp.float32(4000)).mse,
                40,
            ),
            "lists turned around": (self.ready, 1),
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
    plain = Bench(photo, sites, "xla_vjp", deterministic=False)
    size = Size(plain.grid.height * plain.grid.width, plain.lists.k, sites)
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
            moved = size.least_bytes(PASSES[name], deterministic)
            share = moved / (spent / 1e3) / bandwidth
            rows.append(
                {"way": way, "name": name, "milliseconds": spent, "relative_error": error}
                | {"least_megabytes": moved / 1e6, "share_of_copy_bandwidth": share}
            )
            print(f"{spent:10.3f} ms {share:7.1%} {error:9.1e}  {name}, {way}", flush=True)
        for name, (function, count) in bench.steps().items():
            spent = milliseconds(function, repeats=repeats) / count
            steps.append({"way": way, "name": name, "milliseconds": spent})
            print(f"{spent:10.3f} ms {'':18} {name}, {way}", flush=True)
    launched("inside", small)
    return {
        "copy_bytes_per_second": bandwidth,
        "passes": rows,
        "steps": steps,
        "times_pallas": {way: ratios([*rows, *steps], way) for way in ways if way != "pallas"},
    }


def ratios(rows: list[dict], way: str) -> dict[str, float]:
    """How many times as long as by the kernels as they are everything takes some other way."""
    spent = {(row["way"], row["name"]): row["milliseconds"] for row in rows}
    names = [name for other, name in spent if other == way]
    return {name: spent[way, name] / spent["pallas", name] for name in names}


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

    A kernel moves 2.15 TB/s, half of a copy's; gathers from the cache bring it 2.5 TB/s; it does
    1e13 operations a second, a third of what there are; the slowest of these counts. The cache
    takes 1e11 atomic additions of floats a second. A sort does 1.2e10 pairs a second. Sort,
    curvature and one more change of the picture come once a search in Gauss-Newton, the sort once
    a propagation in the paper's. A launch costs 3 us: the compiled steps have 38 and 32, a pass 4,
    a propagation 22, what comes once a search 33. What is done site by site moves 100 and 20 MB a
    step.
    """
    size, launch = Size(768 * 512, 8, 50_000), 3e-3
    move, cache, compute = 2.15e9, 2.5e9, 1e10  # a millisecond
    slots = size.pixels * size.k
    lanes = slots + 16 * size.sites  # half of each site's last warp is idle

    def passed(work: Pass, deterministic: bool) -> float:
        if work.entries and not deterministic:
            moved = size.least_bytes(work, deterministic) / move
            computed = slots * (work.blend + work.slot) / compute
            return max(moved, computed) + slots * work.entries / 1e8
        blended = max(size.blend_bytes(work.known) / move, slots * work.blend / compute)
        if not work.entries:
            return blended
        computed = (lanes * work.slot + 320 * size.sites * work.entries) / compute
        gathered = 4 * slots * (1 + 2 + work.known + 4) / cache
        return blended + max(size.site_bytes(work) / move, gathered, computed)

    sort = slots / 1.2e7
    merged = 45 * size.pixels * (20 + 8 * size.k) / compute + 22 * launch
    rows: dict[str, dict[str, float]] = {}
    for kind, deterministic in (("fixed order", True), ("atomic additions", False)):
        turned = sort * deterministic
        spent = {name: passed(work, deterministic) for name, work in PASSES.items()}
        push, both = spent["change of the picture"], spent["gradient and curvature"]
        once = both - spent["gradient"] + push + turned + 33 * launch
        newton = spent["gradient"] + push + once / LISTS_EVERY
        paper = spent["gradient"] + (turned + merged) / train.LIST_EVERY
        spent = {name: kernels + 4 * launch for name, kernels in spent.items()}
        spent["gauss-newton step"] = newton + 38 * launch + 1e8 / move
        spent["paper step"] = paper + 32 * launch + 2e7 / move
        spent["lists turned around"] = turned
        for name, value in spent.items():
            rows.setdefault(name, {})[kind] = value
    return {"prediction": True, "doc": predict.__doc__, "milliseconds": rows}


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
        for row in (*report["passes"], *report["steps"]):
            print(f"| {row['name']} | {row['way']} | {row['milliseconds']:.3f} ms |")
        for way, found in report["times_pallas"].items():
            print(f"{way}, over pallas:", ", ".join(f"{n} {t:.2f}" for n, t in found.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(machine() | report, indent=1))


if __name__ == "__main__":
    main()
