"""Photo -> Sites: the loop that drives a recipe, reports, stops, resumes, and tells the truth.

A recipe knows how to start, to advance by some steps and to finish; everything else is here. The
figures of a result are those of its file's bytes, decoded: exact lists, the stored sites.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.canvas import Canvas
from sad_jax.cells import Grid
from sad_jax.codec import decode, encode
from sad_jax.config import FitConfig
from sad_jax.fast import FastRecipe
from sad_jax.io import check_image, write_bytes
from sad_jax.losses import make_target
from sad_jax.metrics import mse_to_psnr, psnr, ssim
from sad_jax.paper import PaperRecipe
from sad_jax.passes import launch_of
from sad_jax.recipe import Recipe
from sad_jax.render import render
from sad_jax.sites import Sites, hilbert_index
from sad_jax.train import FitState

CHECKPOINT_SECONDS = 30.0


RECIPES: dict[str, type[Recipe]] = {"fast": FastRecipe, "paper": PaperRecipe}


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a fit stands, given to the caller's ``progress`` after every few steps.

    Attributes:
      step, steps: optimiser steps done, and in all.
      psnr: dB, in the loop: before the last step, with the lists of the moment.
      num_sites: sites in the picture.
      seconds: since the start, without compilation.
      state: the state itself.
    """

    step: int
    steps: int
    psnr: float
    num_sites: int
    seconds: float
    state: FitState

    def image(self) -> np.ndarray:
        """The picture as it is now, float32[H, W, C]."""
        return np.asarray(render(self.state.sites, self.state.lists))


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A fitted picture and its figures.

    Attributes:
      sites: the N sites as the file holds them, in its order.
      shape: the canvas, with K and cell size.
      data: the bytes of the ``.sad`` file.
      psnr, ssim: of the picture decoded from ``data`` against the photo, all pixels alike.
      loop_psnr: dB, as the fit last saw its picture, for comparison only: in the last Adam step, or
        after the colours are solved.
      seconds: of the fit without compilation; ``compile_seconds``: tracing and compiling.
      steps: optimiser steps done.
      implementation: what the passes over the picture ran on.
      history: lists by name: step, psnr (in the loop), sites, seconds.
      interrupted: whether Ctrl-C ended it; the sites are the best so far.
    """

    sites: Sites
    shape: Canvas
    data: bytes
    psnr: float
    ssim: float
    loop_psnr: float
    seconds: float
    compile_seconds: float
    steps: int
    implementation: str
    history: dict[str, list[float]]
    interrupted: bool

    def _repr_html_(self) -> str:
        """The picture and its figures, as notebooks show them."""
        from sad_jax.rich import result_html

        return result_html(self)


def fit(
    image: np.ndarray | jax.Array,
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    key: jax.Array,
    mask: np.ndarray | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
) -> FitResult:
    """Fits sites to a picture.

    Args:
      image: [H, W] or [H, W, C], any number of channels; float in [0, 1], uint8 or uint16.
      config: the budget and the recipe.
      key: a JAX random key; the same key gives the same file.
      mask: [H, W], weights of the pixels' errors, at least 0; None counts all pixels alike.
      progress: called every few steps.
      checkpoint: a file for the state, written about every 30 seconds and on Ctrl-C, and removed
        when the fit is done.
      resume: go on from ``checkpoint`` if it is there; it must be of the same image and config.

    Returns:
      A FitResult; ``result.data`` is the file.

    Raises:
      ValueError: an image, mask, budget or checkpoint that does not fit.

    Example:
      >>> import jax, numpy as np, sad_jax as sad
      >>> image = np.linspace(0, 1, 12 * 16 * 3, dtype=np.float32).reshape(12, 16, 3)
      >>> config = sad.FitConfig.paper(num_sites=12, initial_sites=20, steps=60)
      >>> result = sad.fit(image, config, key=jax.random.key(0))
      >>> result.sites.num_sites, result.psnr > 20
      (12, True)
    """
    photo = check_image(image)
    weight = check_mask(mask, photo.shape[:2])
    recipe = make_recipe(photo, weight, config)
    signature = _signature(photo, weight, config)
    clock, seconds = Clock(), config.seconds or np.inf
    history: dict[str, list[float]] = {"step": [], "psnr": [], "sites": [], "seconds": []}
    interrupted = False
    with clock.listening():
        state = recipe.start(key)
        if resume and checkpoint is not None and Path(checkpoint).exists():
            state, history, clock.before = load_checkpoint(checkpoint, signature, state)
        saved = time.monotonic()
        try:
            while int(state.step) < recipe.steps and clock.seconds < seconds:
                done = max(int(state.step) / recipe.steps, clock.seconds / seconds)
                state = recipe.advance(state, done)
                now = Progress(
                    step=int(state.step),
                    steps=recipe.steps,
                    psnr=float(mse_to_psnr(state.mse)),
                    num_sites=state.num_alive,
                    seconds=clock.seconds,
                    state=state,
                )
                values = {"step": now.step, "psnr": now.psnr, "sites": now.num_sites}
                for name, value in (values | {"seconds": now.seconds}).items():
                    history[name].append(value)
                if progress is not None:
                    progress(now)
                if checkpoint is not None and time.monotonic() > saved + CHECKPOINT_SECONDS:
                    save_checkpoint(checkpoint, signature, state, history, clock.seconds)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            interrupted = True
            if checkpoint is not None:
                save_checkpoint(checkpoint, signature, state, history, clock.seconds)
        sites, mse = recipe.finish(state)
        clock.stop()
    if checkpoint is not None and not interrupted:
        Path(checkpoint).unlink(missing_ok=True)
    return make_result(sites, mse, photo, recipe.canvas, config, clock, history, interrupted)


def make_recipe(photo: np.ndarray, weight: jax.Array | None, config: FitConfig) -> Recipe:
    """The recipe of the settings on one picture; raises where it does not run."""
    canvas = Canvas(photo.shape[:2], k=config.k or 8, cell=config.cell or 1)
    launch_of(config.implementation, canvas.k, photo.dtype)
    target = make_target(
        Grid(*canvas, canvas.cell),
        jnp.asarray(photo),
        weight,
        loss=config.loss,
        implementation=config.implementation,
    )
    return RECIPES[config.recipe](visible(photo, weight), target, canvas, config)


def make_result(
    sites: Sites,
    mse: jax.Array,
    photo: np.ndarray,
    canvas: Canvas,
    config: FitConfig,
    clock: Clock,
    history: dict[str, list[float]],
    interrupted: bool = False,
) -> FitResult:
    """The file of finished sites, and the figures of the picture decoded from it.

    ``mse`` is what the fit itself saw last.
    """
    sites = along_curve(sites, canvas)
    data = encode(sites, canvas)
    picture = np.asarray(render(*decode(data)))
    launch = launch_of(config.implementation, canvas.k, photo.dtype)
    return FitResult(
        sites=sites,
        shape=canvas,
        data=data,
        psnr=psnr(picture, photo),
        ssim=ssim(picture, photo),
        loop_psnr=float(mse_to_psnr(mse)),
        seconds=clock.seconds,
        compile_seconds=clock.compiling,
        steps=int(history["step"][-1]) if history["step"] else 0,
        implementation="xla" if launch is None else "pallas",
        history=history,
        interrupted=interrupted,
    )


def check_mask(mask: np.ndarray | None, shape: tuple[int, int]) -> jax.Array | None:
    """Weights float32[H, W], or None; raises a ValueError unless they are usable."""
    if mask is None:
        return None
    weight = np.asarray(mask, np.float32)
    if weight.shape != tuple(shape):
        raise ValueError(
            f"expected a mask of the image's (H, W) {tuple(shape)}, got {weight.shape}"
        )
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() == 0:
        raise ValueError("expected mask weights that are finite, at least 0 and not all 0")
    return jnp.asarray(weight)


def visible(photo: np.ndarray, weight: jax.Array | None) -> np.ndarray:
    """The photo, with the mean colour of what counts where the weight is zero."""
    if weight is None:
        return photo
    counts = np.asarray(weight) > 0
    return np.where(counts[..., None], photo, photo[counts].mean(0))


def along_curve(sites: Sites, shape: tuple[int, int]) -> Sites:
    """The sites in Hilbert order: neighbours in the file are neighbours in the picture."""
    order = jnp.argsort(hilbert_index(sites.position, max(shape)), stable=True)
    return jax.tree.map(lambda a: a[order], sites)


def save_checkpoint(path, signature: str, state: FitState, history: dict, seconds: float) -> None:
    """Writes the state, optimiser included, atomically."""
    state = state.replace(key=jax.random.key_data(state.key))
    tree = {
        "signature": signature,
        "state": flax.serialization.to_state_dict(state),
        "history": history,
        "seconds": seconds,
    }
    write_bytes(path, flax.serialization.msgpack_serialize(jax.tree.map(_host, tree)))


def load_checkpoint(path, signature: str, like: FitState) -> tuple[FitState, dict, float]:
    """Reads what ``save_checkpoint`` wrote; raises a ValueError if it is of another fit."""
    try:
        tree = flax.serialization.msgpack_restore(Path(path).read_bytes())
        found = tree["signature"]
    except Exception as error:  # msgpack raises many kinds
        raise ValueError(f"expected a checkpoint of a fit, got {path}: {error}") from None
    if found != signature:
        raise ValueError(f"expected a checkpoint of this image and config, got another's: {path}")
    like = like.replace(key=jax.random.key_data(like.key))
    state = flax.serialization.from_state_dict(like, tree["state"])
    state = jax.tree.map(jnp.asarray, state)
    state = state.replace(key=jax.random.wrap_key_data(state.key))
    return state, {name: list(v) for name, v in tree["history"].items()}, tree["seconds"]


def _host(leaf):
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf


def _signature(photo: np.ndarray, weight: jax.Array | None, config: FitConfig) -> str:
    """Tells whether a checkpoint belongs to the same fit; the time budget may differ."""
    text = dataclasses.replace(config, seconds=None).to_json() + str(photo.shape)
    parts = [
        text.encode(),
        photo.tobytes(),
        b"" if weight is None else np.asarray(weight).tobytes(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


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
