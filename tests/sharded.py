"""A program for several devices and processes; ``test_sharding.py`` runs it.

    python sharded.py JOB OUT.npz                       # on all devices of this process
    python sharded.py JOB OUT.npz ADDRESS COUNT RANK    # as one of COUNT processes

It does a job over a mesh, and process 0 writes what it found.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sad_jax as sad
from sad_jax.storage.strips import PictureFile

SHAPE, CELL = (17, 10), 2  # 9 rows of cells, which neither 2 nor 4 divides
CONFIG = sad.FitConfig(num_sites=20, initial_sites=30, steps=18, k=3, cell=2)
PAPER = sad.FitConfig.paper(num_sites=20, initial_sites=24, steps=24, k=3)
SEED = 3
STOP = 9  # steps after which a fit is interrupted


def picture(height: int = 28, width: int = 19) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = np.sin(x / 3) * np.cos(y / 4)
    return (0.5 + 0.4 * np.stack([wave, -wave, np.cos(x / 5 + y / 7)], -1)).astype(np.float32)


def problem():
    """Sites and a picture, the same on every device."""
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 1, (*SHAPE, 3)).astype(np.float32)
    sites = sad.init_sites(image, 40, key=jax.random.key(1))
    angle = rng.uniform(0, 6, 40)
    return image, sites.replace(
        log_aniso=rng.uniform(-2, 2, 40).astype(np.float32),
        direction=np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32),
    )


def steps(mesh) -> dict:
    """Lists, a picture, steps by its gradient, edits of the sites, a step of Gauss-Newton."""
    image, sites = problem()
    canvas, optimizer = sad.Canvas(SHAPE, cell=CELL), optax.sgd(1.0)  # a step shows the gradient
    loss = lambda picture: jnp.sum((picture - image) ** 2) / 100  # noqa: E731
    state = sad.make_state(sites, canvas, optimizer, capacity=44, mesh=mesh)
    found = {"ids": state.lists.ids[:9], "picture": state.image()}
    step = sad.make_step(loss, optimizer)
    for i in range(2):
        state, found[f"loss {i}"] = step(state)
        found |= {f"{name} {i}": leaf for name, leaf in vars(state.sites).items()}
        state = sad.refresh(state)
    state = sad.densify(sad.prune(state, loss, 3), loss, 6)
    found |= {f"{name} after edits": leaf for name, leaf in vars(state.sites).items()}
    options = {"optimizer": sad.gauss_newton(0.3, iterations=1), "refresh_every": 1, "mesh": mesh}
    best = sad.minimize(loss, sites, canvas, steps=1, **options)
    return found | {f"{name} by Newton": leaf for name, leaf in vars(best.sites).items()}


def lists_by_propagation(mesh) -> dict:
    """Seeded lists, and two passes over them."""
    _, sites = problem()
    lists = sad.seed_candidates(sites, SHAPE, key=jax.random.key(SEED), cell=CELL, mesh=mesh)
    found = {"seeded ids": lists.ids[:9]}
    for i in range(2):
        lists = sad.propagate(sites, lists, key=jax.random.fold_in(jax.random.key(SEED), i))
    return found | {"ids": lists.ids[:9]}


class Watched(PictureFile):
    """A picture file that knows which rows of it were read."""

    def __init__(self, path: str | Path):
        super().__init__(path, max_pixels=2**20)
        self.seen: list[tuple[int, int]] = []

    def rows(self, first: int, end: int) -> np.ndarray:
        self.seen.append((first, end))
        return super().rows(first, end)


def fits(mesh) -> dict:
    """Both recipes, the first one twice, once of a file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/a.npy", picture(27))
        file = Watched(f"{folder}/a.npy")
        for name, config in (("fast", CONFIG), ("of a file", CONFIG), ("paper", PAPER)):
            given = file if name == "of a file" else picture(27)
            result = sad.fit(given, config, key=jax.random.key(SEED), mesh=mesh)
            found[name] = np.frombuffer(result.data, np.uint8)
            found[f"{name} psnr"] = np.asarray([result.psnr, result.float_psnr, result.ssim])
            found[f"{name} history"] = np.asarray(result.history["psnr"])
    return found | {"rows read": np.asarray(sorted(file.seen)).reshape(-1, 2)}


def interrupted(mesh, checkpoint: Path) -> dict:
    """A fit of a picture and a mask of which each process has a strip, stopped amid the run."""
    file = Watched(checkpoint.with_suffix(".npy"))
    mask = np.ones(file.shape[:2], np.float32)
    mask[3:6, 2:7] = 0

    def strip(array):
        sharding = jax.NamedSharding(mesh, jax.P(mesh.axis_names[0]))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def stop(now: sad.Progress) -> None:
        if now.step >= STOP:
            raise KeyboardInterrupt

    where = {"checkpoint": checkpoint, "mesh": mesh, "progress": stop}
    result = sad.fit(file, CONFIG, key=jax.random.key(SEED), mask=strip(mask), **where)
    top = 16 * jax.process_index()  # of the rows of its two devices
    assert sorted(file.seen) == [(top, top + 8), (top + 8, min(top + 16, len(mask)))]
    return {"psnr": np.asarray([result.psnr]), "steps": np.asarray([result.steps])}


JOBS = {"steps": steps, "propagation": lists_by_propagation, "fits": fits}


def main() -> None:
    name, out, *job = sys.argv[1:]
    compiled = []

    def hear(event: str, duration_secs: float, **details) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(details.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(hear)
    if job:
        address, count, rank = job
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(count), int(rank))
    mesh = sad.sharding.make_mesh()
    found = {}
    for part in name.split("+"):
        found |= JOBS[part](mesh) if part in JOBS else interrupted(mesh, Path(f"{out}.ckpt"))
    found = {name: sad.sharding.whole(jnp.asarray(value), mesh) for name, value in found.items()}
    if jax.process_index() == 0:
        host = {name: np.asarray(value) for name, value in found.items()}
        processes, programs = jax.process_count(), compiled.count("jit(_gauss_newton)")
        np.savez(out, devices=jax.device_count(), processes=processes, programs=programs, **host)


if __name__ == "__main__":
    main()
