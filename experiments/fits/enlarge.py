"""A fit of the half-size photograph, drawn at twice its size, against the photograph itself.

python -m experiments.fits.enlarge PHOTO [PHOTO ...] [--sites N [N ...]] [--json FILE]

Beside it the half-size photograph, enlarged by bicubic and Lanczos filters (Pillow), and the time
that an enlargement of six times takes, with the lists of the old cells and with exact ones.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import sad_jax as sad
from experiments.machine import read_rows, write_report
from sad_jax.metrics import psnr, ssim

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}


def figures(path: str, num_sites: int) -> dict:
    """PSNR and SSIM against the full-size photograph, and processor seconds at six times."""
    photo = sad.read_image(path)[..., :3]
    height, width = photo.shape[0] // 2, photo.shape[1] // 2
    photo = photo[: 2 * height, : 2 * width]
    half = photo.reshape(height, 2, width, 2, 3).mean((1, 3))
    result = sad.fit(half, sad.FitConfig(num_sites=num_sites), key=jax.random.key(0))
    sites, canvas = sad.decode(result.data)
    ways = {"cells' lists": sad.find_candidates(sites, canvas), "exact lists": canvas}
    shown = {name: sad.resample(sites, lists, photo.shape[:2]) for name, lists in ways.items()}
    shown |= {name: enlarged(half, kernel) for name, kernel in FILTERS.items()}
    row = {"photo": Path(path).name, "sites": num_sites, "psnr at its own size": result.psnr}
    for name, picture in shown.items():
        picture = np.clip(picture, 0, 1)
        row[name] = {"psnr": psnr(picture, photo), "ssim": ssim(picture, photo)}
    for name, lists in ways.items():
        row[name]["seconds at six times"] = processor_seconds(sites, lists, canvas)
    return row


def enlarged(image: np.ndarray, kernel: Image.Resampling) -> np.ndarray:
    """Twice the size, channel by channel, in floats."""
    size = (2 * image.shape[1], 2 * image.shape[0])
    planes = [Image.fromarray(plane) for plane in np.moveaxis(image.astype(np.float32), -1, 0)]
    return np.stack([np.asarray(plane.resize(size, kernel)) for plane in planes], -1)


def processor_seconds(sites, lists, canvas) -> float:
    """Of an enlargement of six times, compiled before."""
    shape = (6 * canvas.height, 6 * canvas.width)
    jax.block_until_ready(sad.resample(sites, lists, shape))
    begin = time.process_time()
    jax.block_until_ready(sad.resample(sites, lists, shape))
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, nargs="+", default=[12500, 1536])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {(row["photo"], row["sites"]) for row in rows}
    for path in args.photos:
        for num_sites in args.sites:
            if (Path(path).name, num_sites) not in done:
                rows.append(figures(path, num_sites))
                print(rows[-1], flush=True)
                write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
