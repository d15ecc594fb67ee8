"""``fit``: the loop that drives a recipe, reports, saves, stops and resumes it.

``FastFit`` and ``PaperFit`` know how to start, to advance by some steps and to finish; everything
else is here. The figures of a result are those of its file's bytes, decoded: exact lists, the
stored sites.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Key, Shaped

from sad_jax.fitting.allowance import Allowance
from sad_jax.fitting.checkpoint import Checkpoint, identity_of
from sad_jax.fitting.clock import Clock
from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.fast import FastFit
from sad_jax.fitting.paper import PaperFit
from sad_jax.fitting.photo import Photo, PhotoInBands, Picture
from sad_jax.fitting.recipe import FastRecipe, PaperRecipe, Recipe
from sad_jax.fitting.result import Finished, FitResult, make_result, new_history, record
from sad_jax.fitting.task import Task, make_task
from sad_jax.model.sites import Sites
from sad_jax.optimize.bar import Report, in_decibels, reporter
from sad_jax.optimize.state import Progress
from sad_jax.sharding import check_mesh, from_first
from sad_jax.storage.strips import PictureFile
from sad_jax.transferring import transferring

FITS: dict[type[Recipe], Callable[..., FastFit | PaperFit]] = {
    FastRecipe: FastFit,
    PaperRecipe: PaperFit,
}


@transferring
def fit(
    image: Picture,
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    key: Key[Array, ""],
    mask: Shaped[ArrayLike, "H W"] | None = None,
    progress: Report | bool | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 30.0,
    resume: bool = False,
    mesh: Mesh | None = None,
) -> FitResult:
    """Fits sites to a picture, and makes a compact file of them.

    Of all sites that it has seen it takes those whose decoded picture has the least loss.

    It computes in float32, also of a picture in float64.

    JAX keeps what it compiles: about 110 MiB for every size of picture and number of sites. A
    process that fits many sizes calls ``jax.clear_caches()`` now and then.

    Args:
      image: [H, W] or [H, W, C], any number of channels; uint8, uint16 or float. A float picture
        that leaves [0, 1], signed or of high dynamic range, is scaled to it for the fit, and the
        colours of the sites back: see ``FitResult.value_range``. Or a file of ``open_image``, of
        which with a mesh each process reads its strip alone.
      config: the budget and the recipe.
      key: a JAX random key; the same key gives the same file.
      mask: [H, W], weights of the pixels' errors, at least 0; None counts all pixels alike.
      progress: called every few steps with a ``Progress``, whose state is of the picture scaled to
        [0, 1], in every process; True shows a bar, of process 0.
      checkpoint: a file for the state, written now and then, on Ctrl-C and at the end. It stays, so
        that a result which could not be stored is not lost; remove it when the result is stored.
      checkpoint_seconds: so long, at least, from one write to the next.
      resume: go on from ``checkpoint`` if it is there, to the very bytes of an unbroken fit; a fit
        that was done returns at once. It must be of the same image, mask, config, key and version
        of sad-jax; only the time budget may be another, and the mesh.
      mesh: devices, of ``sad_jax.sharding.make_mesh``, over which the picture and its lists lie in
        bands of rows. Every process runs the same fit and gets the same result. ``image`` and
        ``mask`` may lie on the mesh's devices already, of which each process then holds its strip.

    Returns:
      A FitResult; ``result.data`` is the file.

    Raises:
      ValueError: an image, mask, budget or checkpoint that does not fit, or a damaged checkpoint.
      OSError: a checkpoint in a folder that is not there.

    Warns:
      UserWarning: once, where the checkpoint cannot be written, as on a full disk; the fit goes on.

    Examples:
      >>> import jax, numpy as np, sad_jax as sad
      >>> image = np.linspace(0, 1, 12 * 16 * 3, dtype=np.float32).reshape(12, 16, 3)
      >>> config = sad.FitConfig.paper(num_sites=12, initial_sites=20, steps=60)
      >>> result = sad.fit(image, config, key=jax.random.key(0))
      >>> result.sites.num_sites, result.psnr > 20
      (12, True)
    """
    report = reporter(progress, in_decibels)
    check_mesh(mesh)
    if mesh is None:
        photo: Photo | PhotoInBands = Photo.of(image, mask)
    else:
        _check_over_mesh(config)
        shape = image.shape if isinstance(image, PictureFile) else np.shape(image)
        photo = PhotoInBands.of(image, mask, config.canvas(shape[:2]), mesh)
    if resume and checkpoint is None:
        raise ValueError("expected a checkpoint to resume, got none")
    keeper = Checkpoint(checkpoint, identity_of(photo, config, key), checkpoint_seconds)
    task, recipe = make_task(photo, config), config.constants
    method = FITS[type(recipe)](recipe)
    clock = Clock()
    with clock.listening():
        most = task.aim.fit_share * (config.seconds or np.inf)
        told = keeper, resume, report
        sites, mse, history, interrupted = _run(method, task, key, clock, most, *told)
        file = Finished.of(task, sites, mse)
        clock.stop()
    return make_result(file, photo, task, clock, history, interrupted)


def _run(
    method: FastFit | PaperFit,
    task: Task,
    key: jax.Array,
    clock: Clock,
    most: float,
    keeper: Checkpoint,
    resume: bool,
    report: Report,
) -> tuple[Sites, jax.Array, dict[str, list[float]], bool]:
    """From the start to the sites that are to be stored; the state, with its lists, is given up.

    ``most``: seconds that it may take. Returns the sites, the mean squared error of their picture,
    the history and whether Ctrl-C has ended it.
    """
    state, history, interrupted = method.start(task, key), new_history(), False
    if resume and (saved := keeper.load(state)) is not None:
        state, history, clock.before = saved
    begin = 0.0 if int(state.step) else clock.seconds
    allowed = Allowance(task.steps, most, begin)
    try:
        while (done := _agreed(allowed.share(int(state.step), clock.seconds))) < 1:
            state = method.advance(task, state, done)
            step, seconds = int(state.step), clock.seconds
            now = Progress(step, allowed.expected_steps(step, seconds), seconds, state)
            record(history, now)
            report(now)
            keeper.save_if_due(state, history, clock.seconds)
    except KeyboardInterrupt:
        interrupted = True
    keeper.save(state, history, clock.seconds)
    return *method.finish(task, state), history, interrupted


def _check_over_mesh(config: FitConfig) -> None:
    """Raises for what only a picture on the host can have."""
    for name in ("padded", "supersampling"):
        value, usual = getattr(config, name), getattr(FitConfig, name)
        if value != usual:
            raise ValueError(f"expected {name}={usual} for a picture over a mesh, got {value}")


def _agreed(share: float) -> float:
    """The share of the run that is over, by the clock of process 0."""
    return float(from_first(np.asarray(share)))
