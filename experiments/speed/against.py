"""Fits by this commit and by another one, in turn: processor seconds without compilation, and PSNR.

python -m experiments.speed.against FOLDER PHOTO [PHOTO ...] --sites 12500 1536 [--json FILE]

FOLDER holds the other commit (``git worktree add --detach FOLDER COMMIT``), old as it may be. Every
fit runs in a process of its own with the defaults of its commit, but for ``--options`` here, and
PSNR is that of its file. Bind all to one core from outside, by ``taskset -c 0``, say. Fits that the
JSON file holds are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from experiments.machine import commit, read_rows, table, write_report

COLUMNS = ("photo", "sites", "commit", "psnr", "processor_seconds", "seconds", "bytes")
ONE = """
import dataclasses, json, sys, time
import imageio.v3 as imageio, jax, sad_jax as sad
photo, sites, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
image, key = imageio.imread(photo), jax.random.key(0)
config = sad.FitConfig(num_sites=sites, **options)
sad.fit(image, dataclasses.replace(config, steps=60), key=key)  # compiles nearly all
before, begun = time.process_time(), time.perf_counter()
result = sad.fit(image, config, key=key)
seconds = time.perf_counter() - begun - result.compile_seconds
used = time.process_time() - before - result.compile_seconds
figures = {"psnr": float(result.psnr), "processor_seconds": used, "seconds": seconds}
print(json.dumps(figures | {"bytes": len(result.data)}))
"""


def fit(folder: Path, photo: str, sites: int, options: str) -> dict:
    """The figures of one fit by the package in ``folder``."""
    command = [sys.executable, "-c", ONE, str(Path(photo).resolve()), str(sites), options]
    settings = os.environ | {"PYTHONPATH": str(folder)}
    run = subprocess.run(
        command, cwd=folder, env=settings, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, nargs="+", default=[12_500])
    parser.add_argument("--options", default="{}", help="JSON, of FitConfig here")
    parser.add_argument("--json")
    args = parser.parse_args()
    rows, show = read_rows(args.json), table(COLUMNS)
    here = Path(__file__).resolve().parents[2]
    sides = [(Path(args.folder).resolve(), "{}"), (here, args.options)]
    for sites in args.sites:
        for photo in args.photos:
            for folder, options in sides:
                point = {"photo": Path(photo).stem, "sites": sites, "commit": commit(folder)}
                if any(point.items() <= row.items() for row in rows):
                    continue
                rows.append(point | fit(folder, photo, sites, options))
                show(rows[-1])
                write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
