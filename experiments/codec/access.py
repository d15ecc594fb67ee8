"""Random access to compact files: what a point and a window read, and how long they take.

    python -m experiments.codec.access FILE.sad [FILE.sad ...] [--json FILE]

Means over 12 points and 6 windows of 64 x 64 pixels, each of a file opened anew; times are those of
the processor, programs compiled beforehand. In bulk: 10^6 points over the whole picture.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

import sad_jax as sad
from experiments.machine import write_report

BULK = 10**6


def measure(path: str) -> dict:
    """The figures of one file."""
    size, rng = os.path.getsize(path), np.random.default_rng(0)
    canvas = sad.open(path).canvas
    most = np.array([canvas.width, canvas.height])
    points = rng.uniform(0, most - 1, (12, 2)).astype(np.float32)
    corners = rng.integers(0, most - 64, (6, 2))
    windows = [(int(x), int(y), 64, 64) for x, y in corners]
    cold = [twice(path, lambda file, p=p: file.query(p[None])) for p in points]
    parts = [twice(path, lambda file, w=w: file.render(w)) for w in windows]
    whole = twice(path, lambda file: file.render())
    file, many = sad.open(path), rng.uniform(0, most - 1, (BULK, 2)).astype(np.float32)
    file.query(many)
    start = time.process_time()
    file.query(many)
    bulk = time.process_time() - start
    return {
        "file": Path(path).name,
        "bytes": size,
        "sites": file.num_sites,
        "bytes_before_any_site": sad.open(path).bytes_read,
        "cold_point": mean(cold, size),
        "window_64": mean(parts, size),
        "whole": mean([whole], size),
        "points_per_cpu_second_in_bulk": round(BULK / bulk),
    }


def twice(path: str, use) -> tuple[int, float]:
    """Bytes read and seconds of the second of two uses, each of the file opened anew."""
    use(sad.open(path))
    start = time.process_time()
    file = sad.open(path)
    use(file)
    return file.bytes_read, time.process_time() - start


def mean(found: list[tuple[int, float]], size: int) -> dict:
    read, seconds = np.mean(found, axis=0)
    return {"bytes": round(read), "share": round(read / size, 3), "cpu_seconds": round(seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = [measure(path) for path in args.files]
    print(json.dumps(rows, indent=1))
    write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
