"""Interpreted kernels with large blocks against plain XLA, on a CPU: which is the better default.

    python -m experiments.speed.interpreted PHOTO [--sites 12500] [--json FILE]

Both take turns in one process; the figures are medians, compilation excluded.
"""

from __future__ import annotations

import time

import jax
import numpy as np

from experiments.machine import write_report
from experiments.speed.passes import Bench, arguments
from kernels_pallas import INTERPRETED
from sad_jax.backend import Backend

ROUNDS = 7
XLA = Backend("xla_vjp")
KERNELS = Backend("pallas", INTERPRETED, deterministic=False)


def main() -> None:
    args, photo = arguments(__doc__)
    benches = [Bench(photo, args.sites, backend) for backend in (XLA, KERNELS)]
    passes = [bench.passes() for bench in benches]
    rows = []
    for name in passes[0]:
        times: list[list[float]] = [[], []]
        for _ in range(ROUNDS + 1):
            for bench, functions, spent in zip(benches, passes, times, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(functions[name](bench.sites))
                spent.append(1e3 * (time.perf_counter() - start))
        xla, interpreted = (float(np.median(spent[1:])) for spent in times)  # the first compiles
        ratio = float(np.median(np.divide(times[1][1:], times[0][1:])))
        rows.append({"pass": name, "xla_ms": xla, "interpreted_ms": interpreted, "ratio": ratio})
        print(f"{xla:9.2f} ms XLA {interpreted:9.2f} ms interpreted {ratio:6.2f}  {name}")
    write_report(args.json, photo=args.photo, sites=args.sites, rows=rows)


if __name__ == "__main__":
    main()
