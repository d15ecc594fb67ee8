"""Peak memory of fitting and decoding a large, synthetic picture.

python -m experiments.speed.memory [--size 4000x3000] [--sites N] [--recipe paper] [--steps T]
    [--json FILE]
"""

from __future__ import annotations

import argparse
import resource

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import write_report


def picture(width: int, height: int) -> np.ndarray:
    """Smooth waves, a ramp and rings that become finer towards a corner."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = 0.5 + 0.4 * np.sin(x / 97) * np.cos(y / 53)
    ramp = (x + y) / (width + height)
    rings = 0.5 + 0.3 * np.sin((x * x + y * y) / 1e5)
    return np.stack([waves, ramp, rings], -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--sites", type=int, default=100_000)
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    config = sad.FitConfig(num_sites=args.sites, recipe=args.recipe, steps=args.steps)
    result = sad.fit(picture(width, height), config, key=jax.random.key(0))
    figures = {
        "size": args.size,
        "sites": args.sites,
        "recipe": args.recipe,
        "steps": result.steps,
        "seconds": result.seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(figures)
    write_report(args.json, **figures)


if __name__ == "__main__":
    main()
