"""Processor seconds and peak memory of every stage of a fit, against pixels and against sites.

python -m experiments.scale.cost [--small] [--axis pixels both sites many dense] [--json FILE]
python -m experiments.scale.cost --one MEGAPIXELS SITES CELL

One process a point, with the default engine; "XLA" are stages without it. Many sites are encoded by
rounding alone, "round", and of more than a million there are no stages of plain XLA. A stage that
takes less than 40 seconds is run twice and its second run counts, so that compilation does not; of
a longer one it is a small part. The peak is the largest resident memory while the stage ran
(Linux: ``clear_refs``), with all that a fit holds then: the picture, its layout in cells, the
lists, the optimiser's state. The figure: ``experiments.scale.figure``.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import read_rows, write_report
from sad_jax.backend import resolve
from sad_jax.coding.encode import Job
from sad_jax.coding.rate import Aim, encode_to
from sad_jax.fitting.fast import FastFit
from sad_jax.fitting.photo import Photo
from sad_jax.fitting.task import exact_lists, make_task
from sad_jax.model.sites import along_curve
from sad_jax.optimize.edits import change_sites
from sad_jax.optimize.least_squares import change_of_picture, gradient, gradient_and_curvature

BANDS = 512  # rows of the picture made at once
LONG = 40.0  # seconds from which on a stage is run once
AXES = {  # (megapixels, sites, cell) of each point
    "pixels": [(m, 10_000, 2) for m in (0.1, 0.4, 1.6)],
    "both": [(m, round(m * 20_000), 2) for m in (0.1, 0.4, 1.6, 6.4, 25.6)],
    "sites": [(0.4, n, 2) for n in (1_000, 4_000, 16_000, 64_000, 256_000)],
    "many": [(4.0, n, 2) for n in (1_000, 8_000, 64_000, 512_000, 2_000_000)],
    "dense": [(n * 5e-6, n, 2) for n in (20_000, 320_000, 5_000_000)],
}
SMALL = {
    "pixels": [(m, 300, 2) for m in (0.02, 0.08)],
    "both": [(m, round(m * 20_000), 2) for m in (0.02, 0.08)],
    "sites": [(0.04, n, 2) for n in (200, 800)],
    "many": [(0.08, n, 2) for n in (200, 800)],
    "dense": [(n * 5e-6, n, 2) for n in (400, 1_600)],
}
ENCODED = 150_000  # sites, up to which they are encoded as a fit does
MANY = 1_000_000  # sites, above which there are no stages of plain XLA


def picture(pixels: float) -> np.ndarray:
    """float32[H, W, 3]: discs of a thousand sizes over waves and a little noise, made in bands."""
    side = max(8, round(math.sqrt(pixels)))
    random = np.random.default_rng(0)
    image = np.empty((side, side, 3), np.float32)
    x = np.arange(side, dtype=np.float32)
    for top in range(0, side, BANDS):
        y = np.arange(top, min(top + BANDS, side), dtype=np.float32)[:, None]
        part = image[top : top + BANDS]
        for i, (a, b, size) in enumerate(((31, 17, 90), (13, 71, 40), (47, 29, 250))):
            cells = np.floor(x / size) * a + np.floor(y / size) * b  # plaids with hard borders
            part[..., i] = 0.5 + 0.25 * np.sin(cells) + 0.15 * np.sin(x / a) * np.cos(y / b)
        part += 0.02 * random.standard_normal(part.shape, np.float32)
    return np.clip(image, 0, 1, out=image)


class Meter:
    """Processor seconds and peak MiB of stages, by name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.peak_mib: dict[str, float] = {}

    def stage(self, name: str, function: Callable, steps: int = 1):
        """Runs a stage, which does so many steps, and gives its result."""
        for _ in range(2):
            result = None  # or there are two of it
            reset_peak()
            before = time.process_time()
            result = jax.block_until_ready(function())
            taken = time.process_time() - before
            if taken > LONG:
                break
        self.seconds[name], self.peak_mib[name] = taken / steps, peak_memory()
        told = f"{name}: {self.seconds[name]:.3f} s, {self.peak_mib[name]:.0f} MiB"
        print(told, file=sys.stderr, flush=True)
        return result


def measure_one(megapixels: float, sites: int, cell: int) -> dict:
    """All stages of one point."""
    meter = Meter()
    job, aim = measure_fit(meter, megapixels, sites, cell)
    found, canvas = job.sites, job.canvas
    if sites <= ENCODED:
        meter.stage("encode", lambda: encode_to(job, aim))
    job = None  # a decoder does not have it
    data = meter.stage("round", lambda: sad.encode(found, canvas, quality=8))
    decoded, canvas = meter.stage("decode", lambda: sad.decode(data, max_pixels=None))
    meter.stage("render", lambda: sad.render(decoded, canvas))
    point = {"megapixels": megapixels, "sites": sites, "cell": cell}
    return point | {"seconds": meter.seconds, "peak_mib": meter.peak_mib, "bytes": len(data)}


def measure_fit(meter: Meter, megapixels: float, sites: int, cell: int) -> tuple[Job, Aim]:
    """The stages of a fit; what is then to be encoded, and how."""
    quality = {} if sites <= ENCODED else {"quality": "lossless"}
    config = sad.FitConfig(num_sites=sites, initial_sites=sites, cell=cell, **quality)
    task = make_task(Photo.of(picture(1e6 * megapixels)), config)
    method, key, target = FastFit(config.constants), jax.random.key(0), task.target
    begun = meter.stage("start", lambda: task.start(key, sites))
    lists = meter.stage("search", lambda: exact_lists(task, begun))
    vector = jax.numpy.ones((6 + task.image.shape[2], sites), np.float32)
    for name, function in {"gradient": gradient, "curvature": gradient_and_curvature}.items():
        program = jax.jit(function)
        meter.stage(name, lambda run=program: run(begun, lists, target))
    push = jax.jit(change_of_picture)
    meter.stage("push", lambda: push(begun, lists, target, vector))
    state = method.start(task, key).replace(lists=lists)
    pace = method.pace(task, state, 0.6)
    moved = meter.stage("step", lambda: method.run(state, target, pace), int(pace.steps))
    if sites <= MANY:
        plain = resolve("xla", begun, k=task.canvas.k)
        search = {"implementation": plain}
        meter.stage("search, XLA", lambda: sad.find_candidates(begun, task.canvas, **search))
        own, run = target.replace(backend=plain), jax.jit(gradient)
        meter.stage("gradient, XLA", lambda: run(begun, lists, own))
    edits = {"prunes": 1, "moves": sites // 10, "worth": 3.0}
    meter.stage("density", lambda: change_sites(moved, target, task.image, **edits))
    found = along_curve(moved.compact(), task.canvas)
    return Job(found, task.canvas, target, task.value_range, known=True, frame=task.frame), task.aim


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """MiB since ``reset_peak``."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, type=float, metavar=("MEGAPIXELS", "SITES", "CELL"))
    parser.add_argument("--axis", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--most", type=float, default=math.inf, help="megapixels")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.one:
        megapixels, sites, cell = args.one
        print(json.dumps(measure_one(megapixels, int(sites), int(cell))))
        return
    rows = read_rows(args.json)
    for axis in args.axis:
        for point in (SMALL if args.small else AXES)[axis]:
            done = [(row["axis"], row["megapixels"], row["sites"], row["cell"]) for row in rows]
            if (axis, *point) in done or point[0] > args.most:
                continue
            command = [sys.executable, "-m", "experiments.scale.cost", "--one", *map(str, point)]
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            rows.append({"axis": axis} | json.loads(out))
            print(rows[-1], flush=True)
            write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
