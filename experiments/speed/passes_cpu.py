"""The passes over a picture by the CPU engine and by plain XLA, side by side.

    python -m experiments.speed.passes_cpu PHOTO [--sites 12500] [--json FILE]

Milliseconds of the processor, not of the clock, so that a busy machine disturbs less; both take
turns in one process, compilation excluded. `taskset -c 0` before it gives one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import write_report
from experiments.speed.passes import Bench, arguments
from sad_jax.backend import Backend
from sad_jax.optimize import least_squares
from sad_jax.optimize.density import _sums

ROUNDS = 15
ENGINES = (Backend("xla_vjp"), Backend("cpu"))


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


def milliseconds(call: Callable) -> float:
    start = time.process_time()
    jax.block_until_ready(call())
    return 1e3 * (time.process_time() - start)


def main() -> None:
    args, photo = arguments(__doc__)
    plain, engine = (calls_of(Bench(photo, args.sites, backend)) for backend in ENGINES)
    rows = []
    for name in plain:
        spent = [[milliseconds(calls[name]) for calls in (plain, engine)] for _ in range(ROUNDS)]
        xla, cpp = np.median(spent[1:], axis=0)  # the first compiles
        rows.append({"pass": name, "xla_ms": xla, "cpu_ms": cpp, "ratio": xla / cpp})
        print(f"{xla:9.2f} ms XLA {cpp:9.2f} ms engine {xla / cpp:6.1f}  {name}", flush=True)
    write_report(args.json, photo=args.photo, sites=args.sites, rows=rows)


if __name__ == "__main__":
    main()
