"""Jobs on an executor: processes of this machine, or of a cluster; lost workers are replaced.

An executor is anything with ``submit(function, *arguments)`` that returns a future with
``add_done_callback`` and ``result``: of concurrent.futures, mpi4py.futures, or a Client of
dask.distributed.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

AHEAD = 64  # jobs that are submitted and not done, at most: each may hold a picture
ATTEMPTS = 3  # at a job whose workers are lost
PATIENCE = 0.2  # seconds between two looks at ``check``


class Executor(Protocol):
    """What runs jobs."""

    def submit(self, function: Callable, /, *arguments: Any) -> Any: ...


class LostWorker(RuntimeError):
    """A job whose workers ended, again and again, before it was done."""


def run_jobs(
    executor: Executor,
    function: Callable,
    jobs: Iterable[tuple],
    *,
    attempts: int = ATTEMPTS,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Any]]:
    """Runs ``function(attempt, *job)`` for every job, and gives each result once, as it comes.

    A job whose worker is lost is submitted again, to whichever worker is free.

    Args:
      executor: where the jobs run.
      function: of a module, so that it can be sent; ``attempt`` counts from 0. What it raises is
        given in place of its result.
      jobs: the arguments of each; taken a few ahead of those that are done.
      attempts: at one job.
      check: called now and then; what it raises ends the waiting, and running jobs are awaited.

    Yields:
      (number of the job, its result or exception). A job whose workers were all lost has a
      ``LostWorker``.
    """
    done: queue.SimpleQueue[tuple[int, int, tuple, Any]] = queue.SimpleQueue()
    running: dict[int, Any] = {}

    def submit(number: int, attempt: int, job: tuple) -> None:
        future = executor.submit(_told, function, attempt, *job)
        running[number] = future
        future.add_done_callback(lambda future: done.put((number, attempt, job, future)))

    waiting = enumerate(jobs)
    try:
        for number, job in itertools.islice(waiting, AHEAD):
            submit(number, 0, job)
        while running:
            check()
            try:
                number, attempt, job, future = done.get(timeout=PATIENCE)
            except queue.Empty:
                continue
            del running[number]
            try:
                result = future.result()
            except Exception as error:  # of the executor: what the function raises is its result
                if attempt + 1 < attempts:
                    submit(number, attempt + 1, job)
                    continue
                result = LostWorker(f"expected a worker that lives, lost {attempts}: {error!r}")
            yield number, result
            for following, job in itertools.islice(waiting, 1):
                submit(following, 0, job)
    finally:
        for future in running.values():
            future.cancel()


def _told(function: Callable, attempt: int, *job: Any) -> Any:
    """The function's result, or its exception, so that it is told from a worker's end."""
    try:
        return function(attempt, *job)
    except Exception as error:
        return error


class LocalWorkers:
    """Processes on this machine, each with its share of the cores and one GPU, as an executor.

    A process that ends is replaced when it is next needed; its job alone is lost.

    Examples:
      >>> import sad_jax as sad
      >>> with sad.LocalWorkers(1) as workers:
      ...     workers.submit(pow, 3, 4).result()
      81
    """

    def __init__(self, count: int):
        """Starts no process yet."""
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(count):
            self._free.put(place)
        self._count = count
        self._pools: list[ProcessPoolExecutor | None] = [None] * count
        self._threads = ThreadPoolExecutor(count)

    def submit(self, function: Callable, /, *arguments: Any) -> Future:
        return self._threads.submit(self._run, function, *arguments)

    def terminate(self) -> None:
        """Sends SIGTERM to all processes: fits of ``sad-jax`` keep what they have found."""
        for process in multiprocessing.active_children():
            process.terminate()

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_) -> None:
        """Waits for the jobs that run."""
        self._threads.shutdown(cancel_futures=True)
        for pool in self._pools:
            if pool is not None:
                pool.shutdown()

    def _run(self, function: Callable, *arguments: Any) -> Any:
        place = self._free.get()
        try:
            pool = self._pools[place] or self._start(place)
            return pool.submit(function, *arguments).result()
        except Exception:  # the process has ended
            self._pools[place] = None
            raise
        finally:
            self._free.put(place)

    def _start(self, place: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # JAX cannot be forked
        pool = ProcessPoolExecutor(1, context, _settle, (place, self._count))
        self._pools[place] = pool
        return pool


def _settle(place: int, count: int) -> None:
    """Gives a process its part of the machine, before it imports JAX; Ctrl-C is its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TQDM_DISABLE"] = "1"
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[place % len(cores) :: count] or cores)
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    gpus = sorted(there) if named is None else named.split(",")
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
