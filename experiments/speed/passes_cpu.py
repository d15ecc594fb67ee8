"""The passes over a picture by the CPU engine and by plain XLA, on one core and on two.

    python -m experiments.speed.passes_cpu PHOTO [--sites 12500] [--json FILE]

Each number of cores has a process of its own, bound to them, in which both take turns, compilation
excluded. Beside the times stands the least that a pass must do, and the share of the pace of a
product of matrices on that core at which it does it. The machine should be idle, as times are those
of the clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import sad_jax as sad
from experiments.machine import table, write_report
from experiments.speed.passes import Bench, arguments
from sad_jax.backend import Backend
from sad_jax.optimize import least_squares
from sad_jax.optimize.density import _sums

ROUNDS = 25
ENGINES = (Backend("xla_vjp"), Backend("cpu"))

# Operations for a pixel and a site of its list, three channels, by kernels_cpu/passes.hpp. Sums,
# products, comparisons, quotients and roots count as one each; an exponential is 14 of them.
SCORE, WEIGHT, COLOR, PHI = 15, 16, 6, 7
BLEND = SCORE + WEIGHT + COLOR
GRADIENT = BLEND + PHI + 30
OPERATIONS = {
    "render": BLEND,
    "gradient": GRADIENT,
    "gradient and curvature": GRADIENT + 99,  # 21 + 18 products and sums, and what they begin with
    "change of the picture": BLEND + PHI + 28,
    "statistics": BLEND + 38,
    "colour product": BLEND + 12,
    "colours' right side": BLEND + 9,
    "exact search": SCORE,  # of those that are found; what it takes to find them is no matter here
}
ENTRIES = {  # numbers of a site that are read, and that are written
    "render": (10, 0),
    "gradient": (10, 10),
    "gradient and curvature": (10, 50),
    "change of the picture": (19, 0),
    "statistics": (10, 8),
    "colour product": (13, 3),
    "colours' right side": (10, 4),
    "exact search": (7, 0),
}
DRAWN = ("render", "change of the picture")


def calls_of(bench: Bench) -> dict[str, Callable]:
    """Every pass of a fit as a function without arguments."""
    known = bench.sites, bench.lists, bench.target
    passes = {name: partial(call, bench.sites) for name, call in bench.passes().items()}
    more: dict[str, Callable] = {
        "statistics": lambda: _sums(*known),
        "colour product": jax.jit(lambda: least_squares.color_product(*known, bench.sites.color.T)),
        "colours' right side": jax.jit(lambda: least_squares.color_right_side(*known)),
    }
    find = partial(sad.find_candidates, bench.sites, bench.canvas, implementation=bench.backend)
    steps, count = bench.steps()["gauss-newton step"]
    return {
        **passes,
        **more,
        "exact search": lambda: find().ids,
        "exact search, lists at hand": lambda: find(near=bench.lists).ids,
        f"{count} Gauss-Newton steps": steps,
    }


def least_work(bench: Bench, name: str) -> tuple[float, float] | None:
    """Millions of operations and of bytes that a pass cannot do without: all is read and written
    once."""
    if name not in OPERATIONS:
        return None
    pixels, k, sites = bench.canvas.pixels, bench.canvas.k, bench.sites.num_sites
    pictures = 3 if name == "render" else 0 if name == "exact search" else 4 + 3 * (name in DRAWN)
    numbers = pixels * (k + pictures) + sites * sum(ENTRIES[name])
    return pixels * k * OPERATIONS[name] / 1e6, 4 * numbers / 1e6


def milliseconds(call: Callable) -> float:
    """Of the clock."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return 1e3 * (time.perf_counter() - start)


def pace_of_a_product() -> float:
    """10^9 operations a second that this process reaches in a product of matrices."""
    square = jnp.ones((1024, 1024))
    product = jax.jit(lambda: square @ square)
    return 2 * 1024**3 / min(milliseconds(product) for _ in range(10)) / 1e6


def measure(photo: jax.Array, sites: int) -> dict:
    """Medians on the cores that this process has: of the clock, as several cores work at once."""
    benches = [Bench(photo, sites, backend) for backend in ENGINES]
    plain, engine = map(calls_of, benches)
    rows = []
    for name in plain:
        calls = plain[name], engine[name]
        spent = [[milliseconds(call) for call in calls] for _ in range(ROUNDS)]
        xla, cpp = np.median(spent[2:], axis=0)  # the first compiles
        least = least_work(benches[1], name)
        rows.append({"pass": name, "xla_ms": xla, "engine_ms": cpp, "least": least})
    return {"rows": rows, "product_gflops": pace_of_a_product()}


def report(photo: str, sites: int) -> None:
    """Prints what ``measure`` gives."""
    print(json.dumps(measure(jnp.asarray(sad.read_image(photo)), sites)))


def measured_on(cores: list[int], photo: str, sites: int) -> dict:
    """``measure`` in a process that is bound to these cores."""
    program = f"from experiments.speed import passes_cpu; passes_cpu.report({photo!r}, {sites})"
    command = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-c", program]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    args, _ = arguments(__doc__)
    own = sorted(os.sched_getaffinity(0))
    one, two = (measured_on(own[:count], args.photo, args.sites) for count in (1, 2))
    show = table(["pass", "xla_ms", "engine_ms", "ratio", "two_cores_ms", "gflops", "share"])
    rows = []
    for alone, both in zip(one["rows"], two["rows"], strict=True):
        row = {
            "pass": alone["pass"],
            "xla_ms": alone["xla_ms"],
            "engine_ms": alone["engine_ms"],
            "ratio": alone["xla_ms"] / alone["engine_ms"],
            "xla_two_cores_ms": both["xla_ms"],
            "two_cores_ms": both["engine_ms"],
        }
        if alone["least"]:
            million_operations, million_bytes = alone["least"]
            gflops = million_operations / alone["engine_ms"]
            row |= {
                "million_operations": million_operations,
                "million_bytes": million_bytes,
                "gflops": gflops,
                "share": gflops / one["product_gflops"],
            }
        show(row)
        rows.append(row)
    pace = one["product_gflops"]
    write_report(args.json, photo=args.photo, sites=args.sites, product_gflops=pace, rows=rows)


if __name__ == "__main__":
    main()
