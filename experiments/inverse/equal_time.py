"""Gauss-Newton against Adam over the same sites: loss and PSNR against time, without compilation.

    python -m experiments.inverse.equal_time [--json FILE]

Sparse-view CT of ellipses and a blurred photograph, each with and without total variation, from the
same start; the seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial

from experiments.inverse import common, ct, deblur
from experiments.machine import machine
from sad_jax.io import write_bytes

RUNS = (("Adam", common.adam, 300), ("Adam", common.adam, 600), ("Gauss-Newton", common.newton, 60))
PHOTO = "tests/data/kodim23_half.png"
PROBLEMS = {"CT": partial(ct.make, ct.ellipses, 0), "deblurring": partial(deblur.make, PHOTO, 0)}
WARM = 13  # steps that compile everything
SETTINGS = {"CT": ct.SETTINGS, "deblurring": deblur.SETTINGS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = []
    print("| problem | loss | optimiser | steps | seconds | reached | PSNR |\n" + "|---" * 7 + "|")
    for title, make in PROBLEMS.items():
        problem, settings = make(), SETTINGS[title]
        for kind, loss, weight in (
            ("squares", common.squared, ()),
            ("squares + TV", common.penalised, (settings.tv,)),
        ):
            sites = settings.tv_sites if weight else settings.sites
            for name, solver, steps in RUNS:
                options = solver(steps)
                run = partial(common.minimize, problem, 0, sites, loss, *weight)
                run(**options | {"steps": WARM})
                begin = time.process_time()
                picture = run(**options)[0].block_until_ready()
                row = {"problem": title, "loss": kind, "optimiser": name, "steps": steps}
                row |= {"seconds": time.process_time() - begin} | problem.figures(picture)
                row["reached"] = float(loss(picture, problem.operator, problem.data, *weight))
                rows.append(row)
                print(
                    "| {problem} | {loss} | {optimiser} | {steps} | {seconds:.1f} "
                    "| {reached:.3e} | {psnr:.2f} |".format(**row),
                    flush=True,
                )
    if args.json:
        write_bytes(args.json, json.dumps(machine() | {"rows": rows}, indent=1).encode())


if __name__ == "__main__":
    main()
