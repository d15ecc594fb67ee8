"""Many pictures of one size, fitted together: the recipe's jitted parts under ``vmap``.

All pictures share the schedule and the number of slots, so their states are stacked; free slots
hold parked sites. What is decided on the host (which sites to split and prune) is decided for each
picture alone. Over several devices every device takes its share of the pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from sad_jax.config import FitConfig
from sad_jax.fast import FastRecipe
from sad_jax.fit import Clock, FitResult, make_recipe, make_result
from sad_jax.io import check_image
from sad_jax.metrics import mse_to_psnr
from sad_jax.search import find_candidates
from sad_jax.sharding import make_mesh
from sad_jax.train import FitState, run_gauss_newton


def fit_batch(
    images: np.ndarray | jax.Array,
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    key: jax.Array,
    progress: Callable[[int, int, np.ndarray], None] | None = None,
) -> list[FitResult]:
    """Fits sites to every picture of a batch, all at once, by the recipe "fast".

    Picture i comes out as ``fit(images[i], config, key=jax.random.split(key, B)[i])`` does, up to
    rounding (which a fit can enlarge). The batch is spread over as many local devices as divide B.

    Args:
      images: [B, H, W] or [B, H, W, C], as for ``fit``.
      config: the budget of each picture; recipe "fast".
      key: a JAX random key.
      progress: called every few steps with the step, the steps in all, and float[B], PSNR in dB.

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
    if np.ndim(images) not in (3, 4) or not len(images):
        raise ValueError(f"expected images [B, H, W] or [B, H, W, C], got {np.shape(images)}")
    if config.recipe != "fast":
        raise ValueError(f"expected recipe 'fast' for a batch, got {config.recipe!r}")
    photos = [check_image(image) for image in np.asarray(images)]
    recipes = [cast(FastRecipe, make_recipe(photo, None, config)) for photo in photos]
    mesh = batch_mesh(len(photos))
    clock, seconds = Clock(), config.seconds or np.inf
    histories: list[dict] = [{"step": [], "psnr": [], "sites": [], "seconds": []} for _ in photos]
    with clock.listening():
        keys = jax.random.split(key, len(photos))
        states = [recipe.start(key) for recipe, key in zip(recipes, keys, strict=True)]
        targets = stack([recipe.target for recipe in recipes])
        step = 0
        while step < recipes[0].steps and clock.seconds < seconds:
            done = max(step / recipes[0].steps, clock.seconds / seconds)
            if step:
                states = [r.control(s, done) for r, s in zip(recipes, states, strict=True)]
            pace = recipes[0].pace(step, done)
            together = _advance(mesh, recipes[0].canvas, stack(states), targets, pace)
            states = unstack(together)
            step = int(states[0].step)
            for state, history in zip(states, histories, strict=True):
                history["step"].append(step)
                history["psnr"].append(float(mse_to_psnr(state.mse)))
                history["sites"].append(state.num_alive)
                history["seconds"].append(clock.seconds)
            if progress is not None:
                progress(step, recipes[0].steps, np.asarray(mse_to_psnr(together.mse)))
        ends = [recipe.finish(state) for recipe, state in zip(recipes, states, strict=True)]
        clock.stop()
    rest = zip(ends, photos, histories, strict=True)
    return [make_result(*end, p, recipes[0].canvas, config, clock, h) for end, p, h in rest]


@partial(jax.jit, static_argnums=(0, 1))
def _advance(mesh: Mesh, canvas, states: FitState, targets, pace) -> FitState:
    """New lists, and steps on them, for all pictures; each device does its own."""

    def one(state: FitState, target, pace) -> FitState:
        state = state.replace(
            lists=find_candidates(
                state.sites, canvas, implementation=target.implementation, near=state.lists
            )
        )
        return run_gauss_newton(state, target, *pace)

    every, shared = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    together = jax.shard_map(
        jax.vmap(one, in_axes=(0, 0, None)),
        mesh=mesh,
        in_specs=(every, every, shared),
        out_specs=every,
        check_vma=False,  # loops begin with what all devices share and go on with what is theirs
    )
    return together(states, targets, pace)


def batch_mesh(size: int) -> Mesh:
    """As many local devices as divide ``size``, in one row."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if size % n == 0)
    return make_mesh(devices[:count], axis="batch")


def stack(trees: list):
    """Trees of one form as one tree with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree) -> list:
    """Undoes ``stack``."""
    leaves, form = jax.tree.flatten(tree)
    return [jax.tree.unflatten(form, row) for row in zip(*map(list, leaves), strict=True)]
