"""Many pictures, fitted together: the recipe's jitted parts under ``vmap``.

Pictures of one size share the number of slots, so their states are stacked; free slots hold parked
sites. Those of other sizes are padded to frames (``model/frame.py``), and those of one frame are
fitted together. What is decided on the host (which sites to split and prune) is decided for each
picture alone. Over several devices every device takes its share of the pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Key, Shaped

from sad_jax.fitting.allowance import Allowance
from sad_jax.fitting.clock import Clock
from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.driver import FITS
from sad_jax.fitting.fast import FastFit
from sad_jax.fitting.paper import PaperFit
from sad_jax.fitting.photo import Photo
from sad_jax.fitting.result import Finished, FitResult, make_result, new_history, record
from sad_jax.fitting.task import Task, make_task
from sad_jax.optimize.bar import Report, in_decibels, reporter
from sad_jax.optimize.least_squares import Target
from sad_jax.optimize.stacks import batch_mesh, side_by_side, stack, unstack
from sad_jax.optimize.state import Progress, State
from sad_jax.transferring import transferring


@transferring
def fit_batch(
    images: Shaped[ArrayLike, "B H W *C"] | Sequence[Shaped[ArrayLike, "_ _ *C"]],
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    key: Key[Array, ""],
    progress: Report | bool | None = None,
) -> list[FitResult]:
    """Fits sites to every picture of a batch, those of one size all at once.

    Picture i comes out as ``fit(images[i], config, key=jax.random.split(key, B)[i])`` does, up to
    rounding (which a fit can enlarge). Pictures of one size are spread over as many local devices
    as divide their number. Pictures of several sizes are padded (``FitConfig.padded``): those of
    one padded size are fitted together.

    Args:
      images: [B, H, W] or [B, H, W, C], or a sequence of pictures of any sizes, as for ``fit``;
        each has a range of values of its own.
      config: the budget of each picture, and the recipe.
      key: a JAX random key.
      progress: called every few steps with a ``Progress`` of the stacked states of the pictures
        that are fitted together; its ``psnr`` and ``num_sites`` are arrays. True shows a bar.

    Returns:
      B FitResults, in the order of the images; ``seconds`` are those of all that were fitted
      together.

    Raises:
      ValueError: images, settings or a budget that do not fit.

    Examples:
      >>> import jax, numpy as np, sad_jax as sad
      >>> images = np.random.default_rng(0).uniform(size=(2, 8, 8, 1)).astype(np.float32)
      >>> config = sad.FitConfig(num_sites=8, initial_sites=10, steps=2)
      >>> batch = sad.fit_batch(images, config, key=jax.random.key(0))
      >>> [result.sites.num_sites for result in batch]
      [8, 8]
    """
    if isinstance(images, np.ndarray | jax.Array) and np.ndim(images) not in (3, 4):
        raise ValueError(f"expected images [B, H, W] or [B, H, W, C], got {np.shape(images)}")
    given: Any = images
    if not len(given):
        raise ValueError("expected images [B, H, W], [B, H, W, C] or a sequence, got none")
    report = reporter(progress, in_decibels)
    photos = [Photo.of(image) for image in given]
    if len({photo.shape for photo in photos}) > 1:
        config = dataclasses.replace(config, padded=True)
    method = FITS[type(config.constants)](config.constants)
    members = [
        Member(photo, make_task(photo, config), own)
        for photo, own in zip(photos, jax.random.split(key, len(photos)), strict=True)
    ]
    groups: dict[Any, list[int]] = {}
    for number, member in enumerate(members):
        groups.setdefault(method.shapes(member.task), []).append(number)
    results: dict[int, FitResult] = {}
    for numbers in groups.values():
        found = _fit_together(method, [members[i] for i in numbers], config, report)
        results |= dict(zip(numbers, found, strict=True))
    return [results[number] for number in range(len(photos))]


class Member(NamedTuple):
    """One picture of a batch, with its random key."""

    photo: Photo
    task: Task
    key: jax.Array


def _fit_together(
    method: FastFit | PaperFit, members: list[Member], config: FitConfig, report: Report
) -> list[FitResult]:
    """Fits pictures whose states have the same shapes."""
    tasks = [member.task for member in members]
    mesh, clock = batch_mesh(len(members)), Clock()
    histories = [new_history() for _ in members]
    with clock.listening():
        states = [method.start(member.task, member.key) for member in members]
        targets = stack([task.target for task in tasks], mesh)
        most = tasks[0].aim.fit_share * (config.seconds or np.inf)
        step, allowed = 0, Allowance(tasks[0].steps, most, clock.seconds)
        while (done := allowed.share(step, clock.seconds)) < 1:
            pairs = list(zip(tasks, states, strict=True))
            if step:
                states = [method.control(task, state, done) for task, state in pairs]
                pairs = list(zip(tasks, states, strict=True))
            paces = stack([method.pace(task, state, done) for task, state in pairs], mesh)
            together = _advance(method, mesh, stack(states, mesh), targets, paces)
            states = unstack(together)
            step, seconds = int(states[0].step), clock.seconds
            expected = allowed.expected_steps(step, seconds)
            for state, history in zip(states, histories, strict=True):
                record(history, Progress(step, expected, seconds, state))
            report(Progress(step, expected, seconds, together))
        pairs = list(zip(tasks, states, strict=True))
        ends = [Finished.of(task, *method.finish(task, state)) for task, state in pairs]
        clock.stop()
    rest = zip(ends, members, histories, strict=True)
    return [make_result(end, member.photo, member.task, clock, h) for end, member, h in rest]


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    method: FastFit | PaperFit, mesh: Mesh, states: State, targets: Target, paces: Any
) -> State:
    """The steps up to the next decision, for all pictures; each device does its own."""
    return side_by_side(method.together, mesh, shared=0)(states, targets, paces)
