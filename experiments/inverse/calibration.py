"""Are the error bars of ensembles honest? Coverage against nominal, and error against spread.

    python -m experiments.inverse.calibration PNG JSON ...

JSON are the reports of the inverse problems. Left: of each nominal level of a normal distribution
with the ensemble's standard deviation, the share of values whose error is within it. Right: the
values in ten groups by their spread, root mean squares of each. The table says the same of 68 and
95 %, and what a factor of the spread for each level comes to that was read off the other pictures
of the problem alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from experiments.inverse.common import MEAN
from experiments.machine import table

NOMINAL = (0.68, 0.95)
COLUMNS = (
    "problem",
    "picture",
    "method",
    "correlation",
    "coverage",
    "factors",
    "coverage with them",
)


def ensembles(reports: list[str]) -> Iterator[tuple[dict, dict]]:
    """The rows with a spread, each with its report."""
    for report in reports:
        content = json.loads(Path(report).read_text())
        yield from ((row, content) for row in content["rows"] if "ratios" in row)


def kind(row: dict) -> tuple[str, ...]:
    """What rows have in common of which one may lend its factors to another."""
    method = row["method"].partition(MEAN)[0]
    return (row["problem"], row["picture"].partition(", ")[2], method)


def factors(rows: list[tuple[dict, dict]], asked: dict) -> list[float]:
    """Of the levels, from all other pictures; NaN where there are none."""
    others = [
        np.interp(NOMINAL, content["shares"], row["ratios"])
        for row, content in rows
        if kind(row) == kind(asked) and row is not asked
    ]
    return np.mean(others, 0).tolist() if others else [np.nan] * len(NOMINAL)


def in_percent(shares) -> str:
    return " / ".join(f"{100 * share:.0f} %" for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("png")
    parser.add_argument("reports", nargs="+")
    args = parser.parse_args()
    rows, show = list(ensembles(args.reports)), table(COLUMNS)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    left.plot((0, 1), (0, 1), "k:", label="honest")
    ends, kinds = [], list(dict.fromkeys(kind(row) for row, _ in rows))
    for row, content in rows:
        color = plt.get_cmap("tab20")(2 * kinds.index(kind(row)) % 20)
        name = ", ".join(part for part in kind(row) if part)
        drawn = left.get_legend_handles_labels()[1]
        label = None if name in drawn else name  # one for all pictures of a kind
        left.plot(content["levels"], row["coverage"], color=color, label=label)
        right.loglog(row["spreads"], row["errors"], "o-", ms=3, color=color)
        ends += [row["spreads"][0], row["spreads"][-1]]
        found = factors(rows, row)
        told = {
            "problem": row["problem"],
            "picture": row["picture"],
            "method": row["method"],
            "correlation": f"{row['correlation']:.2f}",
            "coverage": in_percent(np.interp(NOMINAL, content["levels"], row["coverage"])),
            "factors": " / ".join(f"{factor:.1f}" for factor in found),
            "coverage with them": in_percent(np.interp(found, row["ratios"], content["shares"])),
        }
        show(told)
    right.plot((min(ends), max(ends)), (min(ends), max(ends)), "k:")
    left.set(xlabel="nominal level", ylabel="share of values within it")
    right.set(xlabel="spread", ylabel="root mean square error")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(args.png, dpi=110)


if __name__ == "__main__":
    main()
