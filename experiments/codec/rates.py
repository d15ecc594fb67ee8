"""Rate and distortion at measured bytes: ours beside JPEG, WebP, AVIF and JPEG XL.

    python -m experiments.codec.rates PHOTO [PHOTO ...] --bpp 0.25 0.5 [--json FILE]

Ours is one ``fit`` for each picture and rate, which chooses sites and quality itself; its figures
are those of the 8-bit picture decoded from the file. The others get as many bytes as ours took,
so that nobody is ahead by a few. The file is rewritten after every row, and rows that it holds are
skipped, so a run can be interrupted and gone on with.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.codec.others import CODECS, best_of
from experiments.machine import read_rows, table, write_report

COLUMNS = ("photo", "bpp", "codec", "bytes", "psnr", "ssim")


def ours(photo: np.ndarray, bpp: float) -> dict:
    """The figures of one fit."""
    config = sad.FitConfig(file_bpp=bpp)
    cpu = time.process_time()
    result = sad.fit(photo, config, key=jax.random.key(0))
    cpu = time.process_time() - cpu
    sites, canvas = sad.decode(result.data)
    picture = np.rint(np.clip(np.asarray(sad.render(sites, canvas)), 0, 1) * 255) / 255
    return {
        "bytes": len(result.data),
        "psnr": sad.metrics.psnr(picture, photo),
        "ssim": sad.metrics.ssim(picture, photo),
        "sites": result.sites.num_sites,
        "float_psnr": result.float_psnr,
        "seconds": result.seconds,
        "cpu_seconds_with_compilation": cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {(row["photo"], row["bpp"]): row for row in rows if row["codec"] == "sad"}
    show = table(COLUMNS)
    for bpp in args.bpp:
        for path in args.photos:
            name = Path(path).stem
            if (name, bpp) in done:
                continue
            photo = sad.read_image(path)
            own = ours(photo, bpp)
            new = [{"photo": name, "bpp": bpp, "codec": "sad"} | own]
            for codec in CODECS:
                coded = best_of(codec, photo, own["bytes"])
                if coded is not None:
                    new.append({"photo": name, "bpp": bpp, "codec": codec} | coded._asdict())
            for row in new:
                show(row)
            rows += new
            write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
