"""A part of files of sites, much enlarged, beside the small photograph by a Lanczos filter.

python -m experiments.fits.enlarged PHOTO OUT FILE [FILE ...] [--factor F] [--part X Y W H]
    [--scale S]

PHOTO is the full-size one; the part is in pixels of the photograph made smaller by the factor.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

import sad_jax as sad
from sad_jax.model.supersampling import shrunk

GAP = 6  # pixels between pictures


def by_sites(path: str, small: tuple[int, int], box: np.ndarray, scale: int) -> np.ndarray:
    """A part of the small photograph as its sites draw it, every point with its exact list."""
    sites, canvas = sad.load(path)
    x, y = box[:2] * (canvas.height // small[0])
    step = canvas.height // small[0] / scale
    across = x + (np.arange(int(box[2]) * scale) + 0.5) * step - 0.5
    down = y + (np.arange(int(box[3]) * scale) + 0.5) * step - 0.5
    points = np.stack(np.meshgrid(across, down), -1).astype(np.float32)
    return np.asarray(sad.query(sites, canvas, points))


def by_lanczos(small: np.ndarray, box: np.ndarray, scale: int) -> np.ndarray:
    x, y, width, height = map(int, box)
    size, corners = (width * scale, height * scale), (x, y, x + width, y + height)
    planes = [Image.fromarray(np.ascontiguousarray(small[..., c], np.float32)) for c in range(3)]
    kernel = Image.Resampling.LANCZOS
    return np.stack([np.asarray(plane.resize(size, kernel, box=corners)) for plane in planes], -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("out")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--part", type=int, nargs=4, default=[90, 24, 48, 42])
    parser.add_argument("--scale", type=int, default=8)
    args = parser.parse_args()
    small, box = shrunk(sad.read_image(args.photo)[..., :3], args.factor), np.asarray(args.part)
    pictures = [by_sites(path, small.shape[:2], box, args.scale) for path in args.files]
    pictures.append(by_lanczos(small, box, args.scale))
    gap = np.ones((pictures[0].shape[0], GAP, 3), np.float32)
    row = [part for picture in pictures for part in (picture, gap)]
    sad.write_image(args.out, np.clip(np.concatenate(row[:-1], 1), 0, 1))


if __name__ == "__main__":
    main()
