"""The pictures that `sad-jax fit` writes, side by side.

python -m experiments.fits.montage DIR/NAME OUT.png
"""

from __future__ import annotations

import sys

import numpy as np

import sad_jax as sad

PARTS = ("", "_diagram", "_tau", "_error")
GAP = 8  # pixels


def main() -> None:
    stem, out = sys.argv[1:]
    pictures = [sad.read_image(f"{stem}{part}.png")[..., :3] for part in PARTS]
    gap = np.ones((pictures[0].shape[0], GAP, 3), np.float32)
    row = [piece for picture in pictures for piece in (picture, gap)][:-1]
    sad.write_image(out, np.concatenate(row, axis=1))


if __name__ == "__main__":
    main()
