"""What is timed: the passes over one photograph and the steps of both recipes, by any backend."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import sad_jax as sad
from sad_jax.backend import Backend
from sad_jax.draw.passes import prepare
from sad_jax.optimize import least_squares
from sad_jax.optimize.adam import paper_optimizer
from sad_jax.optimize.gauss_newton import scale_by_plane
from sad_jax.optimize.steps import run_adam, run_gauss_newton

FAST, PAPER = sad.FastRecipe(), sad.PaperRecipe()
ADAM_STEPS = 40  # timed in one call, so that the passes between them are all counted


def milliseconds(function: Callable, *args, repeats: int = 20) -> float:
    """Median wall time of a call, compiled before."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def arguments(doc: str) -> tuple[argparse.Namespace, jax.Array]:
    """The command line ``PHOTO [--sites N] [--json FILE]`` of a program, and the photograph."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("--sites", type=int, default=12_500)
    parser.add_argument("--json")
    args = parser.parse_args()
    return args, jnp.asarray(sad.read_image(args.photo))


class Bench:
    """Passes and steps on one photograph by one backend; the sites are those of a start."""

    def __init__(self, photo: jax.Array, sites: int, backend: Backend):
        self.backend, self.canvas = backend, sad.Canvas(photo.shape[:2])
        self.sites = sad.init_sites(photo, sites, key=jax.random.key(0))
        self.lists = sad.find_candidates(self.sites, self.canvas)
        self.target = least_squares.make_target(self.canvas.grid, photo, backend=backend)
        vector = np.random.default_rng(0).normal(size=(6 + photo.shape[-1], sites))
        self.vector = jnp.asarray(vector, jnp.float32)

    def prepared(self) -> sad.Candidates:
        """The lists, with what any number of passes over them can share."""
        return jax.jit(prepare, static_argnums=0)(self.backend, self.sites, self.lists)

    def passes(self) -> dict[str, Callable]:
        """Functions of the sites."""
        lists, target = self.prepared(), self.target
        functions: dict[str, Callable] = {
            "render": lambda s: sad.render(s, self.lists, implementation=self.backend),
            "gradient": lambda s: least_squares.gradient(s, lists, target),
            "gradient and curvature": lambda s: least_squares.gradient_and_curvature(
                s, lists, target
            ),
            "change of the picture": lambda s: least_squares.change_of_picture(
                s, lists, target, self.vector
            ),
        }
        return {name: jax.jit(function) for name, function in functions.items()}

    def steps(self) -> dict[str, tuple[Callable, int]]:
        """Functions without arguments, and how many steps each of them does."""
        state = partial(sad.State, self.sites, self.lists, step=jnp.int32(0), key=jax.random.key(0))
        plane, every = scale_by_plane(), FAST.lists_every
        given = self.target, jnp.int32(every), jnp.float32(0.3)
        newton = state(optimizer=plane.init(self.sites))
        before = run_gauss_newton(newton, *given, optimizer=plane)
        newton = newton.replace(optimizer=before.optimizer)  # so that most lengths are guessed
        adam = state(optimizer=paper_optimizer(PAPER.rates).init(self.sites))
        damped = newton, *given
        published = adam, self.target, jnp.int32(ADAM_STEPS), jnp.float32(PAPER.steps)
        options = {"rates": PAPER.rates, "lists_every": PAPER.lists_every}

        find = partial(sad.find_candidates, self.sites, self.canvas)
        move = partial(sad.propagate, self.sites, self.lists, key=jax.random.key(1))
        return {
            "gauss-newton step": (
                lambda: run_gauss_newton(*damped, optimizer=plane).value,
                every,
            ),
            "paper step": (lambda: run_adam(*published, **options).value, ADAM_STEPS),
            "transposed lists": (self.prepared, 1),
            "propagation": (lambda: move(implementation=self.backend).ids, 1),
            "exact search": (lambda: find(implementation=self.backend).ids, 1),
        }
