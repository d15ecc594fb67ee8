"""What a figure was measured on: processor, cores, versions, commit, command; its JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jaxlib

from sad_jax.storage.atomic import write_bytes


def machine() -> dict[str, object]:
    """A JSON object to store with every figure."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "commit": commit(),
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
    }


def write_report(path: str | None, **figures) -> None:
    """Writes figures beside the machine into a JSON file, whole or not at all; None writes none."""
    if path is not None:
        write_bytes(path, json.dumps(machine() | figures, indent=1).encode())


def read_rows(path: str | None) -> list[dict]:
    """The rows of a report that an earlier run has left, so that it can be gone on with."""
    if path is None or not Path(path).exists():
        return []
    return json.loads(Path(path).read_text())["rows"]


def table(columns: Sequence[str]) -> Callable[[dict], None]:
    """Prints the head of a table, and gives what prints one of its rows."""
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")

    def show(row: dict) -> None:
        values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in map(row.get, columns)]
        print("| " + " | ".join(values) + " |", flush=True)

    return show


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else Path(sys.argv[0]).stem


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def commit(folder: str | Path = Path(__file__).parent) -> str:
    """The commit in a folder, "-dirty" where files differ from it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
