"""Many pictures, each fitted on its own, by any executor: on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key
from numpy.typing import ArrayLike

from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.driver import fit
from sad_jax.fitting.result import FitResult
from sad_jax.fitting.workers import ATTEMPTS, Executor, run_jobs
from sad_jax.storage.pictures import read_image


def fit_many(
    pictures: Sequence[ArrayLike | str | os.PathLike],
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    key: Key[Array, ""],
    executor: Executor | None = None,
    attempts: int = ATTEMPTS,
    progress: Callable[[int, FitResult | Exception], None] | None = None,
) -> list[FitResult | Exception]:
    """Fits sites to every picture, of any sizes, by the workers of an executor.

    Picture i comes out as ``fit(pictures[i], config, key=jax.random.split(key, count)[i])`` does,
    on whichever worker. A picture whose worker is lost is fitted again by another one.

    Args:
      pictures: arrays as for ``fit``, or paths, which the workers read.
      config: of every fit.
      key: a JAX random key.
      executor: anything with ``submit``: of concurrent.futures or mpi4py.futures, or a Client of
        dask.distributed. A ProcessPoolExecutor must spawn its processes, as JAX cannot be forked,
        and ends with the first process that is lost. None fits here, one after the other.
      attempts: so many workers may be lost for one picture.
      progress: called with the number of each picture and its result, as they come.

    Returns:
      For every picture its FitResult, or the exception that it raised, in its place: whatever one
      picture does, the others are fitted. A ``LostWorker`` stands for a picture whose workers were
      all lost.

    Raises:
      ValueError: no pictures.

    Examples:
      >>> import jax, numpy as np, sad_jax as sad
      >>> pictures = [np.ones((8, 9, 1)), np.zeros((5, 0, 3))]
      >>> config = sad.FitConfig(num_sites=4, steps=2)
      >>> fitted, error = sad.fit_many(pictures, config, key=jax.random.key(0))
      >>> fitted.sites.num_sites, type(error).__name__
      (4, 'ValueError')
    """
    if not len(pictures):
        raise ValueError("expected at least one picture, got none")
    results: dict[int, FitResult | Exception] = {}
    for number, result in _fitted(pictures, config, key, executor, attempts):
        results[number] = result
        if progress is not None:
            progress(number, result)
    return [results[number] for number in range(len(pictures))]


def _fitted(pictures, config, key, executor, attempts) -> Iterator[tuple[int, Any]]:
    keys = np.asarray(jax.random.key_data(jax.random.split(key, len(pictures))))
    kind = str(jax.random.key_impl(key))
    jobs = ((picture, config, data, kind) for picture, data in zip(pictures, keys, strict=True))
    if executor is not None:
        yield from run_jobs(executor, _fit, jobs, attempts=attempts)
        return
    for number, job in enumerate(jobs):  # in this thread, whose settings of JAX and Ctrl-C count
        try:
            yield number, _fit(0, *job)
        except Exception as error:
            yield number, error


def _fit(attempt: int, picture, config: FitConfig, key: np.ndarray, kind: str) -> FitResult:
    if isinstance(picture, str | os.PathLike):
        picture = read_image(picture)
    data = jax.numpy.asarray(key)
    return fit(picture, config, key=jax.random.wrap_key_data(data, impl=kind))
