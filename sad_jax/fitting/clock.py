"""Clock: how long a fit takes, apart from tracing and compilation."""

from __future__ import annotations

import time
from contextlib import contextmanager

import jax


class Clock:
    """Seconds since the start, without those that JAX spent on tracing and compiling."""

    def __init__(self):
        self.begin = time.monotonic()
        self.compiling = 0.0
        self._spans: list[tuple[float, float]] = []  # disjoint, in order
        self.before = 0.0  # seconds of the interrupted run that this one goes on from
        self.end: float | None = None

    def stop(self) -> None:
        self.end = self.seconds

    @property
    def seconds(self) -> float:
        if self.end is not None:
            return self.end
        return time.monotonic() - self.begin - self.compiling + self.before

    @contextmanager
    def listening(self):
        def hear(event: str, duration_secs: float, **_) -> None:
            if event.startswith("/jax/core/compile/"):  # traces nest: count what is new
                now = time.monotonic()
                start = now - duration_secs
                inner = [s for s in self._spans if s[0] >= start]
                self._spans = [s for s in self._spans if s[0] < start]
                start = max(start, self._spans[-1][1] if self._spans else start)
                self.compiling += now - start - sum(end - begin for begin, end in inner)
                self._spans.append((start, now))

        jax.monitoring.register_event_duration_secs_listener(hear)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(hear)
