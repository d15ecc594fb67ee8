"""Steps a second of both recipes, and where a step's time goes.

    python -m experiments.bench_steps PHOTO [--sites 12500] [--json FILE]

Sites are those of a start with so many sites; the figures are medians over repeated calls in one
process, compilation excluded.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import sad_jax as sad
from experiments.machine import machine
from sad_jax import losses, train
from sad_jax.cells import Grid
from sad_jax.gauss_newton import no_step
from sad_jax.io import read_image
from sad_jax.optim import paper_optimizer
from sad_jax.render_xla import render_plain, scatter, site_table, split_ids
from sad_jax.score import gather

REPEATS = 15


def milliseconds(function: Callable, *args) -> float:
    """Median wall time of a call, compiled before."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("--sites", type=int, default=12_500)
    parser.add_argument("--json")
    args = parser.parse_args()
    photo = jnp.asarray(read_image(args.photo))
    shape = photo.shape[:2]
    grid = Grid(*shape, 1)
    target = losses.make_target(grid, photo)
    key = jax.random.key(0)
    sites = sad.init_sites(photo, args.sites, key=key)
    lists = sad.find_candidates(sites, shape)
    n, channels = sites.num_sites, sites.channels

    def state(optimizer) -> train.FitState:
        return train.FitState(
            sites=sites,
            alive=jnp.ones(n, bool),
            lists=lists,
            optimizer=optimizer,
            step=jnp.int32(0),
            key=key,
            mse=jnp.float32(0),
        )

    adam = state(paper_optimizer().init(sites))
    newton = state(no_step(sites))
    vector = jnp.ones((6 + channels, n))
    blocks = split_ids(grid, lists.ids)
    slots = jnp.ones((len(blocks), 6 + channels, *blocks.shape[1:]))

    def gather_all(table):
        return jax.lax.map(lambda ids: gather(table, ids).sum(), blocks)

    def scatter_all(slots):
        start = jnp.zeros((6 + channels, n))
        return jax.lax.scan(lambda sums, b: (scatter(sums, *b), None), start, (blocks, slots))[0]

    def adam_steps(state):
        return train.run_adam(state, target, jnp.int32(40), jnp.float32(4000)).mse

    def newton_steps(state):
        return train.run_gauss_newton(state, target, jnp.int32(5), jnp.float32(0.3)).mse

    ids = lists.ids
    figures = {
        "adam step (with a propagation every 8)": milliseconds(adam_steps, adam) / 40,
        "gauss-newton step": milliseconds(newton_steps, newton) / 5,
        "render": milliseconds(jax.jit(lambda s: render_plain(grid, s, ids)), sites),
        "gradient pass": milliseconds(
            jax.jit(lambda s: losses.gradient(grid, s, ids, target)), sites
        ),
        "gradient and curvature pass": milliseconds(
            jax.jit(lambda s: losses.gradient_and_curvature(grid, s, ids, target)), sites
        ),
        "change of the picture by a step": milliseconds(
            jax.jit(lambda s: losses.change_of_picture(grid, s, ids, target, vector)), sites
        ),
        "of which gather of the sites' rows": milliseconds(
            jax.jit(gather_all), site_table(sites, grid.size)
        ),
        "of which reduction to sites": milliseconds(jax.jit(scatter_all), slots),
        "propagation pass": milliseconds(lambda: sad.propagate(lists, sites, key=key).ids),
        "exact search": milliseconds(lambda: sad.find_candidates(sites, shape).ids),
    }
    print(f"{args.photo}: {shape[1]}x{shape[0]}, {n} sites, K = {lists.k}; {machine()['cpu']}")
    for name, value in figures.items():
        print(f"{value:10.2f} ms  {name}")
    rate = 1e3 / figures["adam step (with a propagation every 8)"]
    print(f"{rate:10.1f} Adam steps a second")
    if args.json:
        report = machine() | {"photo": args.photo, "sites": n, "milliseconds": figures}
        with open(args.json, "w") as file:
            json.dump(report | {"adam_steps_per_second": rate}, file, indent=1)


if __name__ == "__main__":
    main()
