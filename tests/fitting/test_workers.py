"""Jobs on executors: each result once, whatever its workers do."""

import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sad_jax.fitting import workers
from sad_jax.fitting.workers import LocalWorkers, LostWorker, run_jobs


def double(attempt: int, value: int) -> int:
    if value < 0:
        raise ValueError(f"expected a value above 0, got {value}")
    return 2 * value


def die_at_first(attempt: int, value: int, marks: str) -> tuple[int, int, int]:
    """Kills its own process at the first attempt at a value that 3 divides."""
    Path(marks, f"{value}-{attempt}").touch()
    if value % 3 == 0 and attempt == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return value, attempt, os.getpid()


def end_always(attempt: int) -> None:
    os._exit(1)


@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_every_job_has_its_result_once(monkeypatch, count):
    monkeypatch.setattr(workers, "AHEAD", 5)
    with ThreadPoolExecutor(3) as executor:
        found = list(run_jobs(executor, double, ((i,) for i in range(count))))
    assert sorted(found) == [(i, 2 * i) for i in range(count)]


def test_what_a_job_raises_is_its_result():
    with ThreadPoolExecutor(1) as executor:
        found = dict(run_jobs(executor, double, [(1,), (-1,), (2,)]))
    assert (found[0], found[2]) == (2, 4)
    assert f"{found[1]!r}" == "ValueError('expected a value above 0, got -1')"


class Unsure:
    """An executor that loses every job so many times."""

    def __init__(self, losses: int):
        self.losses, self.submitted = losses, []

    def submit(self, function, *arguments):
        future = Future()
        self.submitted.append(arguments)
        if self.submitted.count(arguments) and len(self.submitted) <= self.losses:
            future.set_exception(ConnectionError("gone"))
        else:
            future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize(("losses", "expected"), [(0, 6), (2, 6), (3, LostWorker)])
def test_a_lost_job_is_given_out_again(losses, expected):
    executor = Unsure(losses)
    ((number, result),) = run_jobs(executor, double, [(3,)])
    assert number == 0
    if expected is LostWorker:
        assert isinstance(result, LostWorker)
        assert "lost 3: ConnectionError('gone')" in str(result)
    else:
        assert result == expected
    assert [attempt for _, attempt, _ in executor.submitted] == list(range(min(losses, 2) + 1))


def test_jobs_are_taken_a_few_ahead(monkeypatch):
    monkeypatch.setattr(workers, "AHEAD", 3)
    taken, go = [], threading.Event()

    def jobs():
        for i in range(9):
            taken.append(i)
            yield (i,)

    def wait(attempt, value):
        go.wait(10)
        return value

    with ThreadPoolExecutor(2) as executor:
        results = run_jobs(executor, wait, jobs(), check=lambda: (len(taken) == 3) and go.set())
        assert next(results)[1] in (0, 1)
        assert len(taken) == 3
        assert len(list(results)) == 8


def test_what_check_raises_ends_it():
    def check():
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        list(run_jobs(executor, double, [(1,), (2,)], check=check))


@pytest.mark.slow
def test_processes_that_are_killed_are_replaced(tmp_path):
    with LocalWorkers(2) as local:
        found = dict(run_jobs(local, die_at_first, [(i, str(tmp_path)) for i in range(7)]))
        last = list(run_jobs(local, end_always, [()], attempts=2))
    assert [found[i][:2] for i in range(7)] == [(i, int(i % 3 == 0)) for i in range(7)]
    assert len({pid for _, _, pid in found.values()}) >= 2
    marks = sorted(path.name for path in tmp_path.iterdir())
    assert marks == sorted([f"{i}-0" for i in range(7)] + [f"{i}-1" for i in (0, 3, 6)])
    assert isinstance(last[0][1], LostWorker)
