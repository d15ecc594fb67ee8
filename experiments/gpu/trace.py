"""What the GPU does while a function runs, from JAX's profiler."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import jax


def device_events(function: Callable, *args, repeats: int = 1) -> list[tuple[str, float, float]]:
    """Name, begin and end in ms of all that ran on GPUs, by begin; none where there is no GPU.

    Args:
      function: compiled before.
      *args: its arguments.
      repeats: calls, one after the other.
    """
    jax.block_until_ready(function(*args))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = options.host_tracer_level = 0  # they slow down what is watched
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(repeats):
                jax.block_until_ready(function(*args))
        files = Path(folder).rglob("*.xplane.pb")
        planes = [p for file in files for p in jax.profiler.ProfileData.from_file(str(file)).planes]
        events = [
            (event.name, event.start_ns / 1e6, (event.start_ns + event.duration_ns) / 1e6)
            for plane in planes
            if plane.name.startswith("/device:GPU")
            for line in plane.lines
            if line.name.startswith("Stream")
            for event in line.events
        ]
    return sorted(events, key=lambda event: event[1])


def busy(events: list[tuple[str, float, float]]) -> float:
    """Milliseconds during which at least one of the events went on."""
    total, until = 0.0, -float("inf")
    for _, begin, end in events:
        total += max(end - max(begin, until), 0)
        until = max(until, end)
    return total


def longest(events: list[tuple[str, float, float]], count: int) -> list[dict]:
    """The names that took most, with their launches and milliseconds in all."""
    spent: dict[str, list[float]] = {}
    for name, begin, end in events:
        spent.setdefault(name, []).append(end - begin)
    names = sorted(spent, key=lambda name: -sum(spent[name]))[:count]
    return [
        {"name": name[:80], "launches": len(spent[name]), "milliseconds": sum(spent[name])}
        for name in names
    ]
