"""What another instruction set changes: the whole numbers of a file, and its 8-bit picture.

    python -m experiments.codec.machines FILE.sad [FILE.sad ...] [--json FILE]

Every file is decoded and drawn anew in processes of its own: by the usual instructions, with XLA
and NumPy held to SSE 4.2 and SSE 3, by the engine in C++ and by plain XLA, and in float64. Compared
are the sites' float32 values bit by bit, and how many 8-bit values of the picture differ, and by
how much.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.machine import write_report

OLD = {
    "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    "NPY_DISABLE_CPU_FEATURES": "SSE42 AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512_SKX",
    "NPY_ENABLE_CPU_FEATURES": "",
}
WAYS = {  # name: (environment, implementation, precision)
    "xla, usual": ({}, "xla_vjp", "float32"),
    "xla, SSE 4.2": (OLD, "xla_vjp", "float32"),
    "engine in C++": ({}, "cpu", "float32"),
    "xla, float64": ({"JAX_ENABLE_X64": "1"}, "xla_vjp", "float64"),
}
PROGRAM = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np, sad_jax as sad
path, implementation, precision, out = sys.argv[1:]
sites, canvas = sad.load(path)
values = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(sites))
sites = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), sites)
lists = sad.find_candidates(sites, canvas, implementation=implementation)
image = sad.render(sites, lists, implementation=implementation)
np.save(out, np.rint(255 * np.clip(np.asarray(image), 0, 1)).astype(np.int16))
print(hashlib.sha256(values).hexdigest())
"""


def compare(path: str) -> dict:
    """The figures of one file; the first way is what the others are compared with."""
    import numpy as np

    row: dict = {"file": Path(path).name, "bytes": Path(path).stat().st_size}
    first = None
    for name, (environment, implementation, precision) in WAYS.items():
        descriptor, out = tempfile.mkstemp(suffix=".npy")
        os.close(descriptor)
        command = [sys.executable, "-c", PROGRAM, path, implementation, precision, out]
        cache = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        told = subprocess.run(
            command, env=os.environ | environment | cache, capture_output=True, text=True
        )
        if told.returncode:
            os.unlink(out)
            row[name] = {"failed": told.stderr.strip().splitlines()[-1:]}
            continue
        picture = np.load(out)
        os.unlink(out)
        found = told.stdout.split()[-1], picture
        first = found if first is None else first
        apart = abs(picture - first[1])
        row[name] = {
            "same_sites": found[0] == first[0],
            "values": int(picture.size),
            "different": int((apart > 0).sum()),
            "most_levels": int(apart.max()),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = [compare(path) for path in args.files]
    print(json.dumps(rows, indent=1))
    write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
