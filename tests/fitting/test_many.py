"""Many pictures of many sizes: each as alone, on any executor, though workers are killed."""

import os
import signal

import jax
import numpy as np
import pytest

import sad_jax as sad

pytestmark = pytest.mark.slow
# one length of lists and one number of sites: every process has but one program of steps to make
CONFIG = sad.FitConfig(num_sites=6, initial_sites=6, steps=6, k=4)
KEY = jax.random.key(3)
SHAPES = [(6, 9, 3), (7, 5, 1), (6, 9, 3), (6, 9, 3), (7, 5, 1)]


def pictures() -> list:
    rng = np.random.default_rng(0)
    return [rng.uniform(size=shape).astype(np.float32) for shape in SHAPES]


@pytest.fixture(scope="module")
def alone() -> list[bytes]:
    """The files of all pictures, each fitted on its own."""
    keys = jax.random.split(KEY, len(SHAPES))
    return [sad.fit(p, CONFIG, key=k).data for p, k in zip(pictures(), keys, strict=True)]


def test_one_after_the_other_and_past_bad_ones(tmp_path, alone):
    path = tmp_path / "b.npy"
    mixed = pictures()
    np.save(path, mixed[1])
    mixed[1:3] = [path, np.zeros((4, 0, 3))]
    heard = []
    found = sad.fit_many(mixed, CONFIG, key=KEY, progress=lambda i, result: heard.append(i))
    assert heard == list(range(len(SHAPES)))
    assert str(found[2]).startswith("expected a picture")
    assert [r.data for i, r in enumerate(found) if i != 2] == [*alone[:2], *alone[3:]]
    with pytest.raises(ValueError, match="expected at least one picture, got none"):
        sad.fit_many([], CONFIG, key=KEY)


def test_processes_find_the_same_though_one_is_killed(alone):
    killed = []

    def kill_one(number, result):
        if not killed:  # the other one is at work
            killed.extend(pool._processes for pool in local._pools)
            os.kill(next(iter(killed[-1])), signal.SIGKILL)

    with sad.LocalWorkers(2) as local:
        found = sad.fit_many(pictures(), CONFIG, key=KEY, executor=local, progress=kill_one)
    assert killed
    assert [result.data for result in found] == alone


@pytest.mark.filterwarnings("ignore")  # of dask, while workers come and go
def test_workers_of_dask_find_the_same_though_one_is_killed(alone):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None)
    killed = []

    def kill_one(number, result):
        if not killed:
            killed.append(cluster.workers[0].process.pid)
            os.kill(killed[0], signal.SIGKILL)

    with cluster, distributed.Client(cluster) as client:
        found = sad.fit_many(pictures(), CONFIG, key=KEY, executor=client, progress=kill_one)
    assert killed
    assert [result.data for result in found] == alone
