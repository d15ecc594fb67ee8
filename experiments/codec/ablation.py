"""What each part of the encoder is worth, in bits a site at a loss of 0.3 dB.

    python -m experiments.codec.ablation PHOTO [PHOTO ...] --sites 1536 [--json FILE]

One part is changed at a time. Every variant is encoded at two qualities; its bits at 0.3 dB lie on
the line through both, in the logarithm of the loss.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import write_report
from sad_jax.coding import encode, steps
from sad_jax.coding.rate import picture_psnr
from sad_jax.coding.relax import EFFORT
from sad_jax.storage.compact.fixed import OCTAVE, logarithm
from sad_jax.storage.compact.predict import Neighbours
from sad_jax.storage.compact.rules import PIXEL, Rules

LOSS = 0.3
SHAPES = ("along", "across", "tau", "radius", "angle", "aniso", "color")


@contextmanager
def as_it_is():
    yield


def no_prediction():
    """Neighbours say nothing: means and spreads are zero."""
    nothing = {name: lambda self, values, *_: 0 * self.nearest for name in ("mean", "spread")}
    return mock.patch.multiple(Neighbours, **nothing)


@contextmanager
def fixed_steps():
    """Every site has the steps of one of slope 1, sinh a = 1 and radius 1; places are square."""
    like, sinh_one = np.full_like, round(math.asinh(1) * OCTAVE / math.log(2))
    angles, places = Rules.angles, Rules.places
    radius_step, color_step = Rules.radius_step, Rules.color_step

    def one(rules: Rules, tau: np.ndarray) -> np.ndarray:
        """log2 tau of a slope of 1."""
        return like(tau, logarithm(rules.size))

    def same_angles(rules, tau, aniso):
        return np.where(aniso <= 0, 1, angles(rules, one(rules, tau), like(aniso, sinh_one)))

    rules = {
        "angles": same_angles,
        "places": lambda rules, tau, aniso, angle: places(rules, one(rules, tau), 0 * aniso, angle),
        "radius_step": lambda rules, tau: radius_step(rules, one(rules, tau)),
        "color_step": lambda rules, radius: color_step(rules, like(radius, PIXEL)),
    }
    shapes = lambda sites, _: dict.fromkeys(SHAPES, np.ones(sites.num_sites))  # noqa: E731
    with mock.patch.multiple(Rules, **rules), mock.patch.object(steps, "_shapes", shapes):
        yield


def equal_balance():
    return mock.patch.dict(steps.BALANCE, dict.fromkeys(steps.BALANCE, 1.0))


VARIANTS: dict[str, tuple[Callable, object]] = {
    "as it is": (as_it_is, EFFORT),
    "plain rounding": (as_it_is, None),
    "one round a field": (as_it_is, dataclasses.replace(EFFORT, rounds=1)),
    "three rounds a field": (as_it_is, dataclasses.replace(EFFORT, rounds=3)),
    "colours rounded at once": (as_it_is, dataclasses.replace(EFFORT, color_parts=1)),
    "steps of equal distortion": (equal_balance, EFFORT),
    "the same steps for all sites": (fixed_steps, EFFORT),
    "the same, and plain rounding": (fixed_steps, None),
    "no prediction from neighbours": (no_prediction, EFFORT),
}


def bits(job: encode.Job, change: Callable, effort) -> float:
    """Bits a site at the loss."""
    whole, quality, points = picture_psnr(job, job.sites), 8.0, []
    if effort is None:
        quality = 14.0
    for _ in range(2):
        with change():
            found = encode.rounded(job, quality, effort)
            size = 8 * found.count_bytes() / job.sites.num_sites
        sites = sad.Sites(**jax.device_put(found.sites()))
        loss = max(whole - picture_psnr(job, sites), 1e-3)
        points.append((math.log(loss), size))
        quality += 10 * math.log10(loss / LOSS) or 1.0
    (a, low), (b, high) = points
    slope = (high - low) / (b - a) if abs(b - a) > 0.05 else -15 / math.log(10)
    return low + slope * (math.log(LOSS) - a)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, default=1536)
    parser.add_argument("--json")
    args = parser.parse_args()
    jobs = {}
    for path in args.photos:
        photo = sad.read_image(path)
        config = sad.FitConfig(num_sites=args.sites, quality="lossless")
        result = sad.fit(photo, config, key=jax.random.key(0))
        jobs[Path(path).stem] = encode.make_job(result.sites, result.canvas, photo, None)
    rows = []
    for name, (change, effort) in VARIANTS.items():
        found = {photo: round(bits(job, change, effort), 2) for photo, job in jobs.items()}
        rows.append({"variant": name, "bits_per_site": found})
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in found.values()) + " |", flush=True)
        write_report(args.json, loss=LOSS, sites=args.sites, rows=rows)


if __name__ == "__main__":
    main()
