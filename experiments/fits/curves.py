"""PSNR in the loop against time, of the fits that ``experiments.fits.kodak`` has written.

    python -m experiments.fits.curves OUT.png FILE.json [FILE.json ...]

One panel a photograph and rate; a dot at the end of each curve is the figure of the file. Both
recipes start with more sites than their budget, paper with far more, so its curves rise and fall.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

COLORS = {"fast": "tab:blue", "paper": "tab:orange"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    rows = [row for file in args.files for row in json.loads(Path(file).read_text())["rows"]]
    panels = sorted({(row["photo"], row["sites"]) for row in rows})
    mpl.use("agg")
    rates = len({sites for _, sites in panels})
    columns = rates if 1 < rates <= 4 else min(len(panels), 4)
    height = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        height, columns, figsize=(3.2 * columns, 2.6 * height), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (photo, sites) in zip(axes.flat, panels, strict=False):
        for row in rows:
            if (row["photo"], row["sites"]) != (photo, sites):
                continue
            color, curve = COLORS[row["recipe"]], row["curve"]
            axis.plot(curve["seconds"], curve["psnr"], color=color, lw=1, label=row["recipe"])
            axis.plot(row["seconds"], row["psnr"], "o", color=color, ms=4)
        axis.set_title(f"{photo}, {sites:,} sites", fontsize=9)
        axis.set_xscale("log")
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("seconds without compilation", fontsize=9)
    figure.supylabel("PSNR in dB", fontsize=9)
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
