"""Rate and distortion at measured bytes: ours beside JPEG, WebP, AVIF and JPEG XL.

    python -m experiments.codec.rates PHOTO [PHOTO ...] --bpp 0.25 0.5 [--ours] [--json FILE]

Ours is one ``fit`` for each picture and rate, which chooses sites and quality itself; its figures
are those of the 8-bit picture decoded from the file. The others get as many bytes as ours took,
so that nobody is ahead by a few. The file is rewritten after every row, and rows that it holds are
skipped, so a run can be interrupted and gone on with. ``--ours`` leaves the others for another run.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.codec.others import CODECS, best_of
from experiments.machine import read_rows, table, write_report

OURS = "sad"
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


def others(codec: str, photo: np.ndarray, most_bytes: int) -> dict:
    """The figures of another codec; none where even its smallest file is larger."""
    coded = best_of(codec, photo, most_bytes)
    return {} if coded is None else coded._asdict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {(row["photo"], row["bpp"], row["codec"]): row for row in rows}
    show = table(COLUMNS)
    for bpp, path in itertools.product(args.bpp, args.photos):
        photo, name = sad.read_image(path), Path(path).stem
        for codec in (OURS,) if args.ours else (OURS, *CODECS):
            if (name, bpp, codec) in done:
                continue
            if codec == OURS:
                found = ours(photo, bpp)
            else:
                found = others(codec, photo, done[name, bpp, OURS]["bytes"])
            row = done[name, bpp, codec] = {"photo": name, "bpp": bpp, "codec": codec} | found
            show(row)
            rows.append(row)
            write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
