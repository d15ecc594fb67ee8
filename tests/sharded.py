"""A program for several devices and processes; ``test_sharding.py`` runs it.

    python sharded.py OUT.npz CANVAS                       # on all devices of this process
    python sharded.py OUT.npz CANVAS ADDRESS COUNT RANK    # as one of COUNT processes

It finds lists, draws a picture and takes two steps of a minimisation in bands, and writes what it
found, from process 0.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sad_jax as sad

CANVASES = {"landscape": ((10, 17), 1), "portrait": ((17, 10), 2)}  # (H, W), cell


def problem(shape):
    """Sites and a picture, the same on every device."""
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 1, (*shape, 3)).astype(np.float32)
    sites = sad.init_sites(image, 40, key=jax.random.key(1))
    angle = rng.uniform(0, 6, 40)
    return image, sites.replace(
        log_aniso=rng.uniform(-2, 2, 40).astype(np.float32),
        direction=np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32),
    )


def run(canvas: str, find, draw) -> dict[str, np.ndarray]:
    """What bands must not change: lists, the picture, its gradient, steps."""
    shape, cell = CANVASES[canvas]
    image, sites = problem(shape)
    lists = find(sites, shape, cell=cell)
    found = {"ids": lists.ids, "picture": draw(sites, lists)}
    optimizer = optax.sgd(1.0)  # a step shows the gradient
    loss = lambda picture: jnp.sum((picture - image) ** 2) / 100  # noqa: E731
    step = sad.make_step(loss, optimizer, draw=draw)
    state = sad.make_state(sites, sad.Canvas(shape, cell=cell), optimizer).replace(lists=lists)
    for i in range(2):
        state, found[f"loss {i}"] = step(state)
        found |= {f"{name} {i}": leaf for name, leaf in vars(state.sites).items()}
        state = state.replace(lists=find(state.sites, shape, cell=cell))
    return found


def main() -> None:
    out, canvas, *job = sys.argv[1:]
    if job:
        address, count, rank = job
        jax.distributed.initialize(address, int(count), int(rank))
    mesh = sad.sharding.make_mesh()
    find = partial(sad.sharding.find_candidates, mesh=mesh)
    draw = partial(sad.sharding.render, mesh=mesh)
    everywhere = jax.NamedSharding(mesh, jax.P())
    found = run(canvas, find, draw)
    found = jax.jit(lambda tree: tree, out_shardings=everywhere)(found)
    if jax.process_index() == 0:
        host = {name: np.asarray(value) for name, value in found.items()}
        np.savez(out, devices=jax.device_count(), processes=jax.process_count(), **host)


if __name__ == "__main__":
    main()
