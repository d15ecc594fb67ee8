"""Draws ``scale.png`` from the files of ``cost.py``; prints exponents and what memory is for.

python -m experiments.scale.figure PNG JSON [JSON ...]

In brackets is the exponent between the last two sizes.
"""

from __future__ import annotations

import argparse

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments.machine import read_rows

COLORS = matplotlib.colormaps["tab20"]
SIZES = {"pixels": "megapixels", "both": "megapixels"}
SIZES |= {"sites": "sites", "many": "sites", "dense": "sites"}
TITLES = {
    "pixels": "pixels, 10,000 sites",
    "both": "both, 50 pixels a site",
    "sites": "sites, 0.4 megapixels",
    "many": "sites, 4 megapixels",
    "dense": "both, 5 pixels a site",
}
STAGES = ("start", "search", "search, XLA", "gradient", "gradient, XLA", "curvature", "push")
STAGES += ("step", "density", "encode", "round", "decode", "render")


def values(rows: list[dict], axis: str, table: str, stage: str) -> tuple[np.ndarray, np.ndarray]:
    """The sizes along an axis, rising, at which a stage was measured, and its costs."""
    found = (r for r in rows if r["axis"] == axis and stage in r[table])
    own = sorted(found, key=lambda row: row[SIZES[axis]])
    return np.array([r[SIZES[axis]] for r in own]), np.array([r[table][stage] for r in own])


def exponent(sizes: np.ndarray, costs: np.ndarray) -> float:
    """The slope of log cost over log size."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def memory(rows: list[dict], stage: str) -> str:
    """MiB at rest, bytes a pixel and bytes a site, by least relative squares over all points."""
    rows = [row for row in rows if stage in row["peak_mib"]]
    if len(rows) < 3:
        return ""
    peak = np.array([row["peak_mib"][stage] for row in rows])
    terms = [[1, row["megapixels"] * 1e6 / 2**20, row["sites"] / 2**20] for row in rows]
    fixed, pixel, site = np.linalg.lstsq(np.array(terms) / peak[:, None], np.ones(len(rows)))[0]
    return f"{fixed:.0f} + {pixel:.0f} B a pixel + {site:.0f} B a site"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("png")
    parser.add_argument("json", nargs="+")
    args = parser.parse_args()
    files = [read_rows(path) for path in args.json]
    rows = [row for file in files for row in file]
    axes = [axis for axis in SIZES if any(row["axis"] == axis for row in rows)]
    heads = [f"exponent, {axis}" for axis in axes] + [f"MiB, {path}" for path in args.json]
    print("| stage | " + " | ".join(heads) + " |")
    figure, panels = plt.subplots(2, len(axes), figsize=(4.2 * len(axes), 6.5), squeeze=False)
    for number, stage in enumerate(STAGES):
        slopes = []
        for column, axis in enumerate(axes):
            sizes, seconds = values(rows, axis, "seconds", stage)
            if len(sizes) < 2:
                slopes.append("")
                continue
            slopes.append(f"{exponent(sizes, seconds):.2f}")
            style = {"ms": 3, "lw": 1, "color": COLORS(number), "label": f"{stage}, {slopes[-1]}"}
            slopes[-1] += f" ({exponent(sizes[-2:], seconds[-2:]):.2f})"
            panels[0, column].loglog(sizes, seconds, "o-", **style)
            _, peaks = values(rows, axis, "peak_mib", stage)
            panels[1, column].loglog(sizes, peaks, "o-", **style)
        told = " | ".join(slopes + [memory(file, stage) for file in files])
        print(f"| {stage} | {told} |")
    for column, axis in enumerate(axes):
        for row, name in enumerate(("processor seconds", "peak MiB")):
            panels[row, column].set_xlabel(SIZES[axis])
            panels[row, column].set_ylabel(name)
            panels[row, column].grid(alpha=0.3)
        panels[0, column].set_title(TITLES[axis])
        title = "stage, exponent of seconds"
        panels[1, column].legend(fontsize=6, title=title, title_fontsize=6, loc="upper left")
    figure.tight_layout()
    figure.savefig(args.png, dpi=110)


if __name__ == "__main__":
    main()
