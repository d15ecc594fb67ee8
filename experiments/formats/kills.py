"""kill -9 at random moments of a fit: nothing may be lost or half written, whatever was going on.

python -m experiments.formats.kills --count 100 [--seed S] [--json FILE]

A small fit is run over and over by ``sad-jax fit``, into a folder that holds the results of another
fit. It is killed at random moments, a third of which lie soon after a checkpoint and a third soon
after the first result was written; it goes on with --resume, is killed again, and at last ends by
itself. After every kill each file must be the old or the new one, whole; in the end all files must
equal those of a fit that nobody killed.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

import sad_jax
from experiments.machine import write_report
from sad_jax import cli
from sad_jax.storage.atomic import DRAFT
from sad_jax.storage.pictures import write_image

NAME = "photo"
RESULTS = [f"{NAME}{end}" for end in (".sad", ".png", "_diagram.png", "_tau.png", "_error.png")]
CHECKPOINT, FIGURES = f"{NAME}.ckpt", "figures.json"
RECIPES = {"fast": ("--steps", "60"), "paper": ("--recipe", "paper", "--steps", "400")}
FORK = multiprocessing.get_context("fork")
IN_A_ROW = 6  # kills before a fit may end


class Fit:
    """``sad-jax fit`` in a process of its own, into a folder.

    It is forked from this one, which has imported everything and started nothing.
    """

    def __init__(self, work: Path, out: str, recipe: str, *words: str):
        self.folder = work / out
        command = ["fit", f"{work}/{NAME}.png", "--sites", "64", *RECIPES[recipe], *words]
        command += ["--out", str(self.folder), "--json", str(self.folder / FIGURES)]
        command += ["--checkpoint-seconds", "0.02"]
        self.start = time.monotonic()
        self.process = FORK.Process(target=_run, args=[command])
        self.process.start()

    def end(self) -> float:
        """Waits for its end and returns the seconds it took; raises unless all went well."""
        self.process.join()
        if self.process.exitcode:
            raise RuntimeError(f"expected exit code 0, got {self.process.exitcode}")
        return time.monotonic() - self.start

    def kill(self, seconds: float) -> bool:
        """Kills it after so many seconds; False if it has ended before."""
        self.process.join(max(seconds, 0))
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            return True
        self.end()
        return False

    def wait_for(self, name: str, times: int) -> None:
        """Returns when a file has been written so many times, or the process has ended."""
        seen = {_stamp(self.folder / name)}
        while self.process.is_alive() and len(seen) <= times:
            time.sleep(0.001)
            seen.add(_stamp(self.folder / name))


def _run(command: list[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(cli.main(command))


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


def run(work: Path, count: int, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """So many kills; what they have met, after every fit."""
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
        shutil.copytree(work / f"{recipe}-old", folder)
        for _ in range(IN_A_ROW):
            fit = Fit(work, folder.name, recipe, *_resume(folder))
            name = (CHECKPOINT, RESULTS[0], "")[rng.integers(3)]
            if name:
                fit.wait_for(name, rng.integers(1, 5) if name == CHECKPOINT else 1)
            if not fit.kill(rng.uniform(0, took[recipe] * (0.1 if name else 1))):
                break
            stages[f"{recipe}: {check_folder(folder, old, new)}"] += 1
        else:
            Fit(work, folder.name, recipe, *_resume(folder)).end()
        if read_results(folder) != new or (folder / CHECKPOINT).exists():
            raise RuntimeError(f"expected the files of an unbroken fit, got others: {folder}")
        fits += 1
        yield {"kills": stages.total(), "fits": fits, "stages": dict(sorted(stages.items()))}


def _resume(folder: Path) -> list[str]:
    return ["--resume"] if (folder / CHECKPOINT).exists() else []


def _stamp(path: Path) -> tuple[int, int]:
    if not path.exists():
        return 0, 0
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    args = parser.parse_args()
    for name in sad_jax.__all__:
        getattr(sad_jax, name)  # imports it
    with tempfile.TemporaryDirectory(prefix="sad-jax-kills-") as work:
        cache = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{work}/cache")
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for figures in run(Path(work), args.count, np.random.default_rng(args.seed)):
            print(json.dumps(figures), flush=True)
            report = {"seed": args.seed, **figures}
            child = FORK.Process(target=write_report, args=[args.json], kwargs=report)
            child.start()  # it asks JAX for its devices, and nothing may be started here
            child.join()


if __name__ == "__main__":
    main()
