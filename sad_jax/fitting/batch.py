"""Many pictures of one size, fitted together: the recipe's jitted parts under ``vmap``.

All pictures share the schedule and the number of slots, so their states are stacked; free slots
hold parked sites. What is decided on the host (which sites to split and prune) is decided for each
picture alone. Over several devices every device takes its share of the pictures.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Key, Shaped

from sad_jax.fitting.allowance import Allowance
from sad_jax.fitting.clock import Clock
from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.fast import FastFit, Pace
from sad_jax.fitting.photo import Photo
from sad_jax.fitting.recipe import FastRecipe
from sad_jax.fitting.result import Finished, FitResult, make_result, new_history, record
from sad_jax.fitting.task import make_task
from sad_jax.optimize.bar import Report, in_decibels, reporter
from sad_jax.optimize.edits import refresh
from sad_jax.optimize.least_squares import Target
from sad_jax.optimize.stacks import batch_mesh, side_by_side, stack, unstack
from sad_jax.optimize.state import Progress, State
from sad_jax.transferring import transferring


@transferring
def fit_batch(
    images: Shaped[ArrayLike, "B H W *C"],
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    key: Key[Array, ""],
    progress: Report | bool | None = None,
) -> list[FitResult]:
    """Fits sites to every picture of a batch, all at once, by the recipe "fast".

    Picture i comes out as ``fit(images[i], config, key=jax.random.split(key, B)[i])`` does, up to
    rounding (which a fit can enlarge). The batch is spread over as many local devices as divide B.

    Args:
      images: [B, H, W] or [B, H, W, C], as for ``fit``; each has a range of values of its own.
      config: the budget of each picture; recipe "fast", or a ``FastRecipe``.
      key: a JAX random key.
      progress: called every few steps with a ``Progress`` of the stacked states; its ``psnr`` and
        ``num_sites`` are arrays [B]. True shows a bar.

    Returns:
      B FitResults; ``seconds`` are those of the whole batch.

    Raises:
      ValueError: images, settings or a budget that do not fit.

    Example:
      >>> import jax, numpy as np, sad_jax as sad
      >>> images = np.random.default_rng(0).uniform(size=(2, 8, 8, 1)).astype(np.float32)
      >>> config = sad.FitConfig(num_sites=8, initial_sites=10, steps=2)
      >>> batch = sad.fit_batch(images, config, key=jax.random.key(0))
      >>> [result.sites.num_sites for result in batch]
      [8, 8]
    """
    if np.ndim(images) not in (3, 4) or not np.shape(images)[0]:
        raise ValueError(f"expected images [B, H, W] or [B, H, W, C], got {np.shape(images)}")
    recipe = config.constants
    if not isinstance(recipe, FastRecipe):
        raise ValueError(f"expected recipe 'fast' for a batch, got {recipe.name!r}")
    method, report = FastFit(recipe), reporter(progress, in_decibels)
    photos = [Photo.of(image) for image in np.asarray(images)]
    tasks = [make_task(photo, config) for photo in photos]
    steps, mesh = tasks[0].steps, batch_mesh(len(photos))
    clock = Clock()
    histories = [new_history() for _ in photos]
    with clock.listening():
        keys = jax.random.split(key, len(photos))
        states = [method.start(task, key) for task, key in zip(tasks, keys, strict=True)]
        targets = stack([task.target for task in tasks])
        most = tasks[0].aim.fit_share * (config.seconds or np.inf)
        step, allowed = 0, Allowance(steps, most, clock.seconds)
        while (done := allowed.share(step, clock.seconds)) < 1:
            if step:
                states = [method.control(t, s, done) for t, s in zip(tasks, states, strict=True)]
            pace = method.pace(tasks[0], states[0], done)
            together = _advance(method, mesh, stack(states), targets, pace)
            states = unstack(together)
            step, seconds = int(states[0].step), clock.seconds
            expected = allowed.expected_steps(step, seconds)
            for state, history in zip(states, histories, strict=True):
                record(history, Progress(step, expected, seconds, state))
            report(Progress(step, expected, seconds, together))
        pairs = zip(tasks, states, strict=True)
        ends = [Finished.of(task, *method.finish(task, state)) for task, state in pairs]
        clock.stop()
    rest = zip(ends, photos, tasks, histories, strict=True)
    return [make_result(end, photo, task, clock, h) for end, photo, task, h in rest]


@partial(jax.jit, static_argnums=(0, 1))
def _advance(method: FastFit, mesh: Mesh, states: State, targets: Target, pace: Pace) -> State:
    """New lists, and steps on them, for all pictures; each device does its own."""

    def one(state: State, target: Target, pace: Pace) -> State:
        return method.run(refresh(state, implementation=target.backend), target, pace)

    return side_by_side(one, mesh, shared=1)(states, targets, pace)
