"""Fits of a photograph made smaller, drawn at its full size, against the photograph itself.

python -m experiments.fits.enlarge PHOTO [PHOTO ...] [--sites N ...] [--factors F ...]
    [--supersampling S ...] [--json FILE] [--files DIR]

Beside them the small photograph, enlarged by bicubic and Lanczos filters (Pillow). Without
supersampling also with the lists of the old cells, and the time of six times the size.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import sad_jax as sad
from experiments.machine import read_rows, write_report
from sad_jax.metrics import psnr, ssim
from sad_jax.model.supersampling import shrunk

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}
KEYS = ("photo", "factor", "sites", "supersampling")


def figures(path: str, factor: int, num_sites: int, supersampling: int, files: str | None) -> dict:
    """A row: PSNR and SSIM against the full-size photograph, and processor seconds."""
    photo = sad.read_image(path)[..., :3]
    height, width = (side // factor * factor for side in photo.shape[:2])
    photo = photo[:height, :width]
    small = shrunk(photo, factor)
    config = sad.FitConfig(num_sites=num_sites, supersampling=supersampling)
    begin = time.process_time()
    result = sad.fit(small, config, key=jax.random.key(0))
    row = {"seconds": time.process_time() - begin, "psnr at its own size": result.psnr}
    if files is not None:
        name = f"{Path(path).stem}_{factor}_{num_sites}_{supersampling}.sad"
        Path(files, name).write_bytes(result.data)
    sites, canvas = sad.decode(result.data)
    row["bytes"] = len(result.data)
    row["exact lists"] = alike(sad.resample(sites, canvas, photo.shape[:2]), photo)
    if supersampling == 1:
        lists = sad.find_candidates(sites, canvas)
        row["cells' lists"] = alike(sad.resample(sites, lists, photo.shape[:2]), photo)
        for name, where in {"cells' lists": lists, "exact lists": canvas}.items():
            row[name]["seconds at six times"] = processor_seconds(sites, where, canvas)
    for name, kernel in FILTERS.items():
        row[name] = alike(enlarged(small, photo.shape[:2], kernel), photo)
    return row


def alike(picture: np.ndarray, photo: np.ndarray) -> dict[str, float]:
    picture = np.clip(picture, 0, 1)
    return {"psnr": psnr(picture, photo), "ssim": ssim(picture, photo)}


def enlarged(image: np.ndarray, shape: tuple[int, int], kernel: Image.Resampling) -> np.ndarray:
    """At a larger size, channel by channel, in floats."""
    planes = [Image.fromarray(plane) for plane in np.moveaxis(image.astype(np.float32), -1, 0)]
    return np.stack([np.asarray(plane.resize(shape[::-1], kernel)) for plane in planes], -1)


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
    parser.add_argument("--factors", type=int, nargs="+", default=[2])
    parser.add_argument("--supersampling", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json")
    parser.add_argument("--files", metavar="DIR", help="where the files of the fits go")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {tuple(row[key] for key in KEYS) for row in rows}
    asked = itertools.product(args.photos, args.factors, args.sites, args.supersampling)
    for path, *numbers in asked:
        names = dict(zip(KEYS, (Path(path).name, *numbers), strict=True))
        if tuple(names.values()) not in done:
            rows.append(names | figures(path, *numbers, args.files))
            print(rows[-1], flush=True)
            write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
