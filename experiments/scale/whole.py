"""One large picture all the way: a fit of some steps, its file, and the file drawn to PNG and TIFF.

python -m experiments.scale.whole [--small] [--megapixels M] [--sites N] [--cell C] [--steps T]
    [--out DIR] [--json FILE]

Each stage is a process of its own; a file that is in DIR already is only drawn. The fit starts from
its budget of sites, without the recipe's overshoot, whose eightfold sites would not have room; so
the quality says nothing of a whole run, only the cost does. With no steps the sites are those of
the start. The compact file is rounded without making up for it, whose cost is in ``cost.py``. A run
adds a row to those of the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from experiments.machine import read_rows, write_report
from experiments.scale.cost import peak_memory, picture


def fit_one(path: str, *counts: str) -> dict:
    """A whole fit of a ``.npy`` picture; its file is written beside it.

    ``counts``: of sites, of pixels a side of a cell, and of steps.
    """
    import jax

    import sad_jax as sad

    sites, cell, steps = map(int, counts)
    photo = sad.read_image(path, max_pixels=2**40)
    marks: list[tuple[int, float, float]] = []

    def note(now: sad.Progress) -> None:
        marks.append((now.step, time.process_time(), peak_memory()))
        print(
            f"step {now.step}, {now.seconds:.0f} s, {now.psnr:.2f} dB", file=sys.stderr, flush=True
        )

    if not steps:
        begun = sad.init_sites(photo, sites, key=jax.random.key(0))
        canvas = sad.Canvas(photo.shape[:2], cell=cell)
        sad.save(Path(path).with_suffix(".sad"), begun, canvas)
        return {"steps": 0}
    settings = {"cell": cell, "steps": steps, "quality": "lossless"}
    config = sad.FitConfig(num_sites=sites, initial_sites=sites, **settings)
    result = sad.fit(photo, config, key=jax.random.key(0), progress=note)
    Path(path).with_suffix(".sad").write_bytes(result.data)
    (_, end, peak), early, late = marks[-1], marks[:4], marks[-3:]
    return {
        "steps": result.steps,
        "psnr": result.psnr,
        "ssim": result.ssim,
        "bytes": len(result.data),
        "seconds_a_step_early": _rate(early),  # on shorter lists
        "seconds_a_step_late": _rate(late),
        "seconds_after_the_steps": time.process_time() - end,
        "seconds": time.process_time(),
        "wall_seconds": result.seconds,
        "compile_wall_seconds": result.compile_seconds,
        "peak_mib_in_steps": peak,
    }


def round_one(path: str) -> dict:
    """A compact file in the place of a lossless one."""
    import sad_jax as sad

    sites, canvas = sad.load(path, max_pixels=None)
    sad.save(path, sites, canvas, quality=8)
    return {"bytes": Path(path).stat().st_size}


def _rate(marks: list[tuple[int, float, float]]) -> float:
    """Processor seconds a step from the first mark, which comes after compilation, to the last."""
    (first, begin, _), (last, end, _) = marks[0], marks[-1]
    return (end - begin) / max(last - first, 1)


def draw_one(*words: str) -> dict:
    """``sad-jax render`` in this process."""
    from sad_jax import cli

    if cli.main(["render", *words]):
        raise RuntimeError(f"render {' '.join(words)} failed")
    return {}


def make_one(path: str, megapixels: str) -> dict:
    """The picture, as ``.npy`` of uint8."""
    np.save(path, np.rint(picture(1e6 * float(megapixels)) * 255).astype(np.uint8))
    return {}


STAGES = {"make": make_one, "fit": fit_one, "round": round_one, "draw": draw_one}


def run(stage: str, *words: str) -> dict:
    """A stage in a process of its own, which tells its processor seconds and its peak.

    The system's figure for a child that has ended would not be below that of its parent.
    """
    command = [sys.executable, "-m", "experiments.scale.whole", "--stage", stage, *words]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--stage"]:
        figures = STAGES[sys.argv[2]](*sys.argv[3:])
        told = {"processor_seconds": time.process_time(), "peak_mib": peak_memory()}
        print(json.dumps(told | figures))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=100.0)
    parser.add_argument("--sites", type=int, default=2_000_000)
    parser.add_argument("--cell", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", default="out")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.small:
        args.megapixels, args.sites, args.steps = 0.05, 1000, 6
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    photo, file = folder / "large.npy", folder / "large.sad"
    figures: dict = {"megapixels": args.megapixels, "sites": args.sites, "cell": args.cell}
    if not file.exists():
        run("make", str(photo), str(args.megapixels))
        counts = map(str, (args.sites, args.cell, args.steps))
        figures["fit"] = run("fit", str(photo), *counts)
        figures["compact file"] = run("round", str(file))
        print(figures, flush=True)
    side = np.load(photo, mmap_mode="r").shape[0]
    crop = f"{side // 3},{side // 2},{side // 10},{side // 10}"
    for name, words in {
        "render to PNG": ["--out", str(folder / "large.png")],
        "render to TIFF": ["--out", str(folder / "large.tif")],
        "a crop of a hundredth": ["--crop", crop, "--out", str(folder / "crop.png")],
    }.items():
        figures[name] = run("draw", str(file), *words)
        print(name, figures[name], flush=True)
    write_report(args.json, rows=[*read_rows(args.json), figures])


if __name__ == "__main__":
    main()
