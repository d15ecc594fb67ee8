"""The reports of the inverse problems as one table in Markdown, the best PSNR of a picture bold.

python -m experiments.inverse.tables experiments/results/inverse_ct.json ...
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

COLUMNS = ("problem", "picture", "method", "PSNR", "SSIM", "parameters", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for report in parser.parse_args().reports:
        rows = json.loads(Path(report).read_text())["rows"]
        for (problem, picture), group in itertools.groupby(
            rows, lambda row: (row["problem"], row["picture"])
        ):
            told = list(group)
            best = max(row["psnr"] for row in told)
            for row in told:
                first = row is told[0]
                print(
                    f"| {problem if first else ''} | {picture if first else ''} "
                    f"| {row['method']} | {_bold(row['psnr'], best)} "
                    f"± {np.ptp(row['psnr_by_seed']) / 2:.2f} | {row['ssim']:.3f} "
                    f"| {row['parameters']:,} | {_seconds(row)} |"
                )


def _bold(psnr: float, best: float) -> str:
    return f"**{psnr:.2f}**" if psnr == best else f"{psnr:.2f}"


def _seconds(row: dict) -> str:
    return f"{row['seconds']:.1f}" if "seconds" in row else ""


if __name__ == "__main__":
    main()
