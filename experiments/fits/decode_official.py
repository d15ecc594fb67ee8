"""A file of the official program, decoded with its kind of lists and with exact ones.

python -m experiments.fits.decode_official SITES.txt TARGET [SITES.txt TARGET ...] [--json FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import write_report
from sad_jax.metrics import psnr


def figures(sites_file: str, target_file: str) -> dict[str, float | int | str]:
    """PSNR of the picture, clipped to [0, 1] and not rounded, with both kinds of lists."""
    sites, canvas = sad.load(sites_file)
    target = sad.read_image(target_file)
    flooded = sad.flood_candidates(sites, canvas, key=jax.random.key(0))
    return {
        "file": Path(sites_file).name,
        "sites": sites.num_sites,
        "propagated": psnr(np.clip(sad.render(sites, flooded), 0, 1), target),
        "exact": psnr(np.clip(sad.render(sites, canvas), 0, 1), target),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="SITES TARGET")
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = [figures(*pair) for pair in zip(args.pairs[::2], args.pairs[1::2], strict=True)]
    print("| file | sites | PSNR, propagated lists | PSNR, exact lists |\n|---|---|---|---|")
    for row in rows:
        print("| {file} | {sites} | {propagated:.2f} | {exact:.2f} |".format(**row))
    write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
