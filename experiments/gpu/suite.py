"""Everything that wants a GPU, in one command: equality, timings, fits.

    python -m experiments.gpu.suite [PHOTO ...] [--sites N] [--seconds S] [--json FILE] [--small]

1. Each way to run a pass against plain XLA: relative error of values and gradients.
2. Each pass: milliseconds as called from Python, and in which the GPU was busy; the share of the
   copy bandwidth measured in the same run, by the bytes that it must at least move; and how many
   times as long it takes gathered outside, and with slot sums and atomic additions.
3. Steps of both recipes; transposing the lists; propagation; the exact search.
4. Fits of the photographs at 50,000 sites with both recipes: PSNR of the file, PSNR against time,
   seconds, and seconds in which the GPU was busy; whether fits of one photograph write the same
   bytes.

Without a photograph it takes the one in ``tests/data``. ``--small`` is for a CPU: interpreted
kernels, a corner of the picture, few sites and steps.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp

import sad_jax as sad
from experiments.gpu.predict import PASSES, Size
from experiments.gpu.trace import busy, device_events, longest
from experiments.machine import write_report
from experiments.speed.passes import Bench, milliseconds
from kernels_pallas import Launch
from sad_jax.backend import Backend, resolve

PHOTO = "tests/data/kodim23_half.png"
FIGURES = ("float_psnr", "psnr", "ssim", "seconds", "steps")
KERNELS = "pallas"  # the way that the others are compared with


def ways_of(launch: Launch) -> dict[str, Backend]:
    """All ways to run a pass, by name."""
    return {
        "xla": Backend("xla_vjp"),
        KERNELS: Backend("pallas", launch),
        "pallas, gathered outside": Backend("pallas", replace(launch, gather="outside")),
        "pallas, atomic additions": Backend("pallas", launch, deterministic=False),
    }


def copy_bandwidth(megabytes: int) -> float:
    """Bytes a second of a copy, read and written."""
    array = jnp.zeros(megabytes * 2**18, jnp.float32)
    return 2 * array.nbytes / milliseconds(jax.jit(lambda a: a + 1), array) * 1e3


def relative_error(found, expected) -> float:
    """The largest of all arrays, each by its norm."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(
        float(jnp.linalg.norm(a - b) / jnp.maximum(jnp.linalg.norm(b), 1e-20)) for a, b in pairs
    )


def measure(photo: jax.Array, sites: int, small: bool) -> dict:
    """Parts 1 to 3."""
    name = "pallas_interpret" if small else "pallas"
    ways = ways_of(resolve(name, photo, k=8).launch)  # or it says why there are no kernels here
    bandwidth, repeats = copy_bandwidth(16 if small else 1024), 2 if small else 20
    plain = Bench(photo, sites, ways["xla"])
    size = Size(plain.canvas.pixels, plain.lists.k, sites)
    expected = {name: function(plain.sites) for name, function in plain.passes().items()}
    rows, steps = [], []
    for way, backend in ways.items():
        bench = plain if way == "xla" else Bench(photo, sites, backend)
        for name, function in bench.passes().items():
            error = relative_error(function(bench.sites), expected[name])
            row = {"way": way, "name": name} | timed(function, bench.sites, repeats=repeats)
            moved = size.least_bytes(PASSES[name], backend.wants_transposed_lists)
            share = moved / (row["busy_milliseconds"] / 1e3) / bandwidth
            rows.append(
                row
                | {"relative_error": error, "least_megabytes": moved / 1e6}
                | {"share_of_copy_bandwidth": share}
            )
            print(f"{told(row)} {share:7.1%} {error:9.1e}  {name}, {way}", flush=True)
        for name, (function, count) in bench.steps().items():
            row = {"way": way, "name": name} | timed(function, repeats=repeats, steps=count)
            steps.append(row)
            print(f"{told(row)} {'':18} {name}, {way}", flush=True)
    return {
        "copy_bytes_per_second": bandwidth,
        "passes": rows,
        "steps": steps,
        "times_pallas": {way: ratios([*rows, *steps], way) for way in ways if way != KERNELS},
    }


def timed(function, *args, repeats: int, steps: int = 1) -> dict[str, float]:
    """Milliseconds of one of the ``steps`` in a call: as called, and of the GPU.

    Without a GPU both are the same.
    """
    spent, traced = milliseconds(function, *args, repeats=repeats), min(repeats, 3)
    worked = busy(device_events(function, *args, repeats=traced)) / traced or spent
    return {"milliseconds": spent / steps, "busy_milliseconds": worked / steps}


def told(row: dict) -> str:
    return f"{row['milliseconds']:10.3f} ms, GPU {row['busy_milliseconds']:8.3f} ms"


def ratios(rows: list[dict], way: str) -> dict[str, float]:
    """How many times as long as by the kernels as they are the GPU works some other way."""
    spent = {(row["way"], row["name"]): row["busy_milliseconds"] for row in rows}
    names = [name for other, name in spent if other == way]
    return {name: spent[way, name] / spent[KERNELS, name] for name in names}


def fits(photos: list[str], sites: int, small: bool, seconds: float) -> list[dict]:
    """Part 4; a photograph whose turn comes after so many seconds is left out, and named."""
    rows, begin = [], time.monotonic()
    for recipe, path in itertools.product(("fast", "paper"), photos):
        row = {"photo": Path(path).stem, "recipe": recipe, "sites": sites}
        if time.monotonic() - begin > seconds:
            rows.append(row | {"left_out": "no time"})
            continue
        rows.append(row | fitted_twice(part_of(path, small), recipe, sites, small))
        line = "{psnr:10.2f} dB {seconds:8.2f} s, GPU {busy_seconds:.2f} s, same bytes {same_bytes}"
        print(line.format(**rows[-1]), path, recipe, flush=True)
    return rows


def fitted_twice(photo: jax.Array, recipe: str, sites: int, small: bool) -> dict:
    """A fit that is timed, another whose use of the GPU is traced; before them one to compile."""
    config = sad.FitConfig(num_sites=sites, recipe=recipe, steps=4 if small else None)
    results = []

    def fit():
        results.append(sad.fit(photo, config, key=jax.random.key(0)))

    fit()
    events = device_events(fit)
    compiled, result, traced = results
    curve = {name: result.history[name] for name in ("seconds", "psnr")}
    return {
        **{name: getattr(result, name) for name in FIGURES},
        "compile_seconds": compiled.compile_seconds,
        "busy_seconds": busy(events) / 1e3,
        "same_bytes": result.data == traced.data == compiled.data,
        "longest": longest(events, 20),
        "curve": curve,
        "implementation": result.implementation,
    }


def part_of(path: str, small: bool) -> jax.Array:
    """The photograph, or a corner of it."""
    photo = jnp.asarray(sad.read_image(path))
    return photo[:32, :48] if small else photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", default=[PHOTO])
    parser.add_argument("--json")
    parser.add_argument("--sites", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=300, help="for the fits, all together")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    sites = 100 if args.small else args.sites
    report = measure(part_of(args.photos[0], args.small), sites, args.small)
    write_report(args.json, **report)  # the fits may take too long
    report["fits"] = fits(args.photos, sites, args.small, args.seconds)
    for row in (*report["passes"], *report["steps"]):
        print(f"| {row['name']} | {row['way']} | {told(row)} |")
    for way, found in report["times_pallas"].items():
        print(f"{way}, over pallas:", ", ".join(f"{n} {t:.2f}" for n, t in found.items()))
    write_report(args.json, **report)


if __name__ == "__main__":
    main()
