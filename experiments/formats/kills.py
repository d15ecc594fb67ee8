"""kill -9 at random moments of a fit: nothing may be lost or half written, whatever was going on.

python -m experiments.formats.kills --count 100 [--seed S] [--folder DIR] [--json FILE]

A small fit is run over and over by ``sad-jax fit``, into a folder that holds the results of another
fit. It is killed at random moments, of which some lie right after the first result was replaced; it
goes on with --resume, is killed again, and at last ends by itself. After every kill each file must
be the old or the new one, whole; in the end all files must equal those of a fit that nobody killed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.machine import write_report
from sad_jax.storage.atomic import DRAFT
from sad_jax.storage.pictures import write_image

NAME = "photo"
RESULTS = [f"{NAME}{end}" for end in (".sad", ".png", "_diagram.png", "_tau.png", "_error.png")]
CHECKPOINT, FIGURES = f"{NAME}.ckpt", "figures.json"
RECIPES = {"fast": ("--steps", "60"), "paper": ("--recipe", "paper", "--steps", "400")}
IN_A_ROW = 4  # kills before a fit may end


class Fit:
    """``sad-jax fit`` in a process of its own, into a folder."""

    def __init__(self, work: Path, out: str, recipe: str, *words: str):
        self.folder = work / out
        command = [sys.executable, "-m", "sad_jax", "fit", f"{work}/{NAME}.png", "--sites", "64"]
        command += [*RECIPES[recipe], "--out", str(self.folder), "--checkpoint-seconds", "0.02"]
        command += ["--json", str(self.folder / FIGURES), *words]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(work / "cache")}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> float:
        """Waits for its end and returns the seconds it took; raises unless all went well."""
        _, error = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"expected exit code 0, got {self.process.returncode}: {error}")
        return time.monotonic() - self.start

    def kill(self, seconds: float) -> bool:
        """Kills it after so many seconds; False if it has ended before."""
        try:
            _, error = self.process.communicate(timeout=max(seconds, 0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return True
        if self.process.returncode:
            raise RuntimeError(f"expected exit code 0, got {self.process.returncode}: {error}")
        return False

    def wait_for_results(self) -> None:
        """Returns when the first result has been replaced, or the process has ended."""
        before = _stamp(self.folder / RESULTS[0])
        while self.process.poll() is None and _stamp(self.folder / RESULTS[0]) == before:
            time.sleep(0.001)


def read_results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def check_folder(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> str:
    """Raises where anything is lost or half written; says what was going on."""
    found = read_results(folder)
    for name, data in found.items():
        if data not in (old[name], new[name]):
            raise RuntimeError(f"expected the old or the new {name}, got neither")
    json.loads((folder / FIGURES).read_text())
    others = {path.name for path in folder.iterdir()} - {*RESULTS, FIGURES, CHECKPOINT}
    drafts = {path.name for path in folder.glob(DRAFT.format("*"))}
    if others - drafts:
        raise RuntimeError(f"expected results, a checkpoint and drafts, got {others - drafts}")
    replaced = sum(found[name] != old[name] for name in RESULTS)
    if replaced:
        stage = "while results were written" if replaced < len(RESULTS) else "after the pictures"
    else:
        stage = "in the fit" if (folder / CHECKPOINT).exists() else "before the first checkpoint"
    return f"{stage}, with a draft" if drafts else stage


def run(work: Path, count: int, rng: np.random.Generator) -> dict[str, object]:
    """So many kills, and what they met."""
    y, x = np.mgrid[:24, :32]
    write_image(work / f"{NAME}.png", np.stack([x / 32, y / 24, (x > 12) * 0.8], -1))
    stages: collections.Counter[str] = collections.Counter()
    fits, took, wanted = 0, {}, {}
    for recipe in RECIPES:
        Fit(work, f"{recipe}-old", recipe, "--seed", "1").end()  # compiles
        took[recipe] = Fit(work, f"{recipe}-new", recipe).end()
        wanted[recipe] = [read_results(work / f"{recipe}-{age}") for age in ("old", "new")]
    while stages.total() < count:
        recipe = list(RECIPES)[fits % len(RECIPES)]
        old, new = wanted[recipe]
        folder = work / f"{fits}"
        folder.mkdir()
        for name, data in old.items():
            (folder / name).write_bytes(data)
        (folder / FIGURES).write_bytes((work / f"{recipe}-old" / FIGURES).read_bytes())
        for _ in range(IN_A_ROW):
            fit = Fit(work, f"{fits}", recipe, *_resume(folder))
            if rng.random() < 0.5:
                fit.wait_for_results()
                killed = fit.kill(rng.uniform(0, 0.15 * took[recipe]))
            else:
                killed = fit.kill(rng.uniform(0, took[recipe]))
            if not killed:
                break
            stages[f"{recipe}: {check_folder(folder, old, new)}"] += 1
        else:
            Fit(work, f"{fits}", recipe, *_resume(folder)).end()
        if read_results(folder) != new or (folder / CHECKPOINT).exists():
            raise RuntimeError(f"expected the files of an unbroken fit, got others: {folder}")
        fits += 1
        print(f"{stages.total()} kills, {fits} fits", flush=True)
    return {"kills": stages.total(), "fits": fits, "stages": dict(sorted(stages.items()))}


def _resume(folder: Path) -> list[str]:
    return ["--resume"] if (folder / CHECKPOINT).exists() else []


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sad-jax-kills-") as temporary:
        figures = run(args.folder or Path(temporary), args.count, np.random.default_rng(args.seed))
    print(json.dumps(figures, indent=1))
    write_report(args.json, seed=args.seed, **figures)


if __name__ == "__main__":
    main()
