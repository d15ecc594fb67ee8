"""Gauss-Newton against Adam over the same sites: loss and PSNR against time, without compilation.

    python -m experiments.inverse.equal_time [--json FILE]

Sparse-view CT of ellipses and a blurred photograph, with total variation, from the same start; the
seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from experiments.inverse import common, ct, deblur, phantoms
from experiments.machine import write_report

PHOTO = "tests/data/kodim23_half.png"
PROBLEMS = {
    "CT": (partial(ct.make, phantoms.ellipses), ct.SETTINGS),
    "deblurring": (partial(deblur.make, PHOTO), deblur.SETTINGS),
}
RUNS = (
    ("Adam", common.adam, 300),
    ("Adam", common.adam, 600),
    ("Gauss-Newton", common.gauss_newton, 60),
)
WARM = 13  # steps that compile everything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = []
    print("| problem | optimiser | steps | seconds | loss | PSNR |\n" + "|---" * 6 + "|")
    for title, (make, settings) in PROBLEMS.items():
        problem, sites, weight = make(0), settings.tv_sites, settings.tv
        for name, solver, steps in RUNS:
            options = solver(steps)
            run = partial(common.minimize, problem, 0, sites, common.penalised, weight)
            run(**options | {"steps": WARM})
            begin = time.process_time()
            picture = run(**options)[0].block_until_ready()
            row = {"problem": title, "optimiser": name, "steps": steps}
            row |= {"seconds": time.process_time() - begin} | problem.figures(picture)
            row["loss"] = float(common.penalised(picture, problem.operator, problem.data, weight))
            rows.append(row)
            print(
                "| {problem} | {optimiser} | {steps} | {seconds:.1f} | {loss:.3e} "
                "| {psnr:.2f} |".format(**row),
                flush=True,
            )
    write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
