"""Memory of one process over many fits of many shapes: it must become flat.

python -m experiments.speed.soak [--fits N] [--shapes N] [--recipe paper] [--steps T] [--json FILE]

Programs are dropped as ``sad-jax fit FOLDER`` does: see ``sad_jax.commands.runtime.Programs``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import write_report
from sad_jax.commands.runtime import Programs

SETTLED = 10  # fits, after which memory is to be flat


def resident_mib() -> int:
    """Memory of this process, on Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--shapes", type=int, default=30)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json")
    args = parser.parse_args()
    programs, resident = Programs(), []
    for number in range(args.fits):
        shape = (16 + number % args.shapes, 24)
        image = np.random.default_rng(number).random((*shape, 3), np.float32)
        config = sad.FitConfig(num_sites=40, initial_sites=40, recipe=args.recipe, steps=args.steps)
        sad.fit(image, config, key=jax.random.key(number))
        programs.used(shape)
        resident.append(resident_mib())
        print(f"{number + 1:4} {shape[1]}x{shape[0]} {resident[-1]:6} MiB", flush=True)
    later = resident[SETTLED:]
    figures = {"first": max(resident[:SETTLED]), "later": max(later, default=None)}
    print(f"most MiB in the first {SETTLED} fits and later: {figures}")
    write_report(args.json, **vars(args), most_mib=figures, resident_mib=resident)


if __name__ == "__main__":
    main()
