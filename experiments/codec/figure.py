"""Rate and distortion in a figure and a table, from what ``rates`` has measured.

    python -m experiments.codec.figure FIGURE.png TABLE.csv RATES.json [RATES.json ...]

One panel a photograph; PSNR of the 8-bit picture against the bits a pixel that no file exceeds.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

STYLES = {
    "sad": {"color": "black", "marker": "o", "label": "sad-jax, measured bytes"},
    "jpeg": {"color": "tab:red", "marker": "v", "label": "JPEG"},
    "webp": {"color": "tab:green", "marker": "s", "label": "WebP"},
    "avif": {"color": "tab:blue", "marker": "^", "label": "AVIF"},
    "jxl": {"color": "tab:orange", "marker": "d", "label": "JPEG XL"},
}
COLUMNS = ("photo", "codec", "bpp", "bytes", "psnr", "ssim")


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
    columns = min(4, len(photos))
    lines = -(-len(photos) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4 * columns, 3 * lines), squeeze=False)
    for photo, axis in zip(photos, axes.flat, strict=False):
        for codec, style in STYLES.items():
            own = [row for row in rows if (row["photo"], row["codec"]) == (photo, codec)]
            axis.plot([row["bpp"] for row in own], [row["psnr"] for row in own], **style)
        axis.set_title(photo)
        axis.set_xlabel("bits a pixel, at most")
        axis.set_ylabel("PSNR in dB")
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(args.figure, dpi=100)


if __name__ == "__main__":
    main()
