"""Are the error bars of ensembles honest? Coverage against nominal, and error against spread.

    python -m experiments.inverse.calibration PNG JSON ...

JSON are the reports of the inverse problems. Left: of each nominal level of a normal distribution
with the ensemble's standard deviation, the share of values whose error is within it. Right: the
values in ten groups by their spread, root mean squares of each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("png")
    parser.add_argument("reports", nargs="+")
    args = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    left.plot((0, 1), (0, 1), "k:", label="honest")
    ends = []
    for report in args.reports:
        content = json.loads(Path(report).read_text())
        for row in content["rows"]:
            if "coverage" not in row:
                continue
            name = f"{row['problem']}, {row['picture']}, {row['method']}"
            (line,) = left.plot(content["levels"], row["coverage"], label=name)
            right.loglog(row["spreads"], row["errors"], "o-", color=line.get_color())
            ends += [row["spreads"][-1], row["errors"][-1]]
    right.plot((1e-3, max(ends)), (1e-3, max(ends)), "k:")
    left.set(xlabel="nominal level", ylabel="share of values within it")
    right.set(xlabel="spread", ylabel="root mean square error")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", fontsize=7)
    figure.savefig(args.png, dpi=110)


if __name__ == "__main__":
    main()
