"""Rate and distortion in a figure and a table, from what ``rates`` has measured.

    python -m experiments.codec.figure FIGURE.png TABLE.csv RATES.json [RATES.json ...]

One panel a photograph; PSNR of the 8-bit picture against the bits a pixel that no file exceeds. The
last panel has the means of all photographs, at rates at which each has a file, and beside them, in
open markers, what others report of all 24 of Kodak's at nominal rates (``published``).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from experiments.codec.published import PUBLISHED

STYLES = {
    "sad": {"color": "black", "marker": "o", "label": "sad-jax"},
    "jpeg": {"color": "tab:red", "marker": "v", "label": "JPEG"},
    "webp": {"color": "tab:green", "marker": "s", "label": "WebP"},
    "avif": {"color": "tab:blue", "marker": "^", "label": "AVIF"},
    "jxl": {"color": "tab:orange", "marker": "d", "label": "JPEG XL"},
}
OPEN_MARKERS = "pDX"
COLUMNS = ("photo", "codec", "bpp", "bytes", "psnr", "ssim")
SIDE = 3  # panels in a row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure")
    parser.add_argument("table")
    parser.add_argument("rates", nargs="+")
    args = parser.parse_args()
    mpl.use("agg")
    rows = [row for path in args.rates for row in json.loads(Path(path).read_text())["rows"]]
    rows = [row for row in rows if "psnr" in row]  # some have no file that is small enough
    rows.sort(key=lambda row: (row["photo"], row["codec"], row["bytes"]))
    with Path(args.table).open("w", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    photos = sorted({row["photo"] for row in rows})
    lines = -(-(len(photos) + 1) // SIDE)
    figure, axes = plt.subplots(lines, SIDE, figsize=(5 * SIDE, 4 * lines), squeeze=False)
    for photo, axis in zip(photos, axes.flat, strict=False):
        draw(axis, photo, [row for row in rows if row["photo"] == photo])
    last = axes.flat[len(photos)]
    draw(last, f"mean of {len(photos)}; open: others' mean of 24, nominal", means(rows, photos))
    for (name, points), marker in zip(PUBLISHED.items(), OPEN_MARKERS, strict=True):
        last.plot(points.bpp, points.psnr, marker, color="gray", mfc="none", label=name)
    for axis in axes.flat[len(photos) + 1 :]:
        axis.set_axis_off()
    axes.flat[0].legend(title="bytes of files, measured", fontsize=9, loc="lower right")
    handles, names = last.get_legend_handles_labels()
    last.legend(handles[len(STYLES) :], names[len(STYLES) :], title="nominal", fontsize=9)
    figure.tight_layout()
    figure.savefig(args.figure, dpi=80)


def draw(axis, title: str, rows: list[dict]) -> None:
    for codec, style in STYLES.items():
        own = [row for row in rows if row["codec"] == codec]
        axis.plot([row["bpp"] for row in own], [row["psnr"] for row in own], **style)
    axis.set_title(title)
    axis.set_xscale("log")
    ticks = sorted({row["bpp"] for row in rows})
    axis.set_xticks(ticks, labels=[f"{bpp:g}" for bpp in ticks], minor=False)
    axis.minorticks_off()
    axis.set_xlabel("bits a pixel, at most")
    axis.set_ylabel("PSNR in dB")
    axis.grid(alpha=0.3)


def means(rows: list[dict], photos: list[str]) -> list[dict]:
    """The mean PSNR of each codec at the rates at which every photograph has a file."""
    found = []
    for codec, bpp in sorted({(row["codec"], row["bpp"]) for row in rows}):
        values = [row["psnr"] for row in rows if (row["codec"], row["bpp"]) == (codec, bpp)]
        if len(values) == len(photos):
            found.append({"codec": codec, "bpp": bpp, "psnr": float(np.mean(values))})
    return found


if __name__ == "__main__":
    main()
