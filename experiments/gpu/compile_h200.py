"""Compiles every kernel for an H200 on a machine without a GPU: registers, spills, seconds.

    .ci/compile_h200          # the tests of marker h200: nothing spills
    .ci/compile_h200 table    # this table, into experiments/results/kernels.json

XLA's GPU compiler runs without a device when it is given a description of one. That checks the
kernels' lowering and code generation; it does not run them. The script downloads what is needed,
the CUDA plugin of the very version of jax in use and ``ptxas``, into ``.aot``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

import sad_jax as sad
from experiments.machine import write_report
from kernels_pallas import Launch, merge_lists
from sad_jax.backend import Backend
from sad_jax.draw import passes
from sad_jax.draw.xla import split_ids
from sad_jax.lists.candidates import Candidates, new_lists
from sad_jax.model.score import site_rows
from sad_jax.model.sites import Sites
from sad_jax.optimize import least_squares
from sad_jax.optimize.adam import RATES, paper_optimizer
from sad_jax.optimize.gauss_newton import scale_by_plane
from sad_jax.optimize.least_squares import Target, make_target
from sad_jax.optimize.steps import run_adam, run_gauss_newton

H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 151397597184
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  device_vendor: "NVIDIA Corporation" name: "NVIDIA H200"
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0"
}
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
"""
DUMP = Path(tempfile.gettempdir()) / f"xla_dump_{os.getpid()}"
FAIL_ON_SPILLS = {"xla_gpu_fail_ptx_compilation_on_register_spilling": True}


@contextlib.contextmanager
def as_if_on_an_h200() -> Iterator[None]:
    """Names the device that is lowered for, which jax >= 0.11 wants to know."""
    try:
        from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
    except ImportError:  # an older jax, which does not ask
        yield
        return
    device = AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        yield


def lower(function: Callable, arguments):
    """Lowers a jitted function for CUDA; raises what the lowering raises."""
    with as_if_on_an_h200():
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",))


def compile_h200(function: Callable, arguments, **options):
    """Compiles a function for an H200; the wheel ``jax-cuda13-pjrt`` must be importable."""
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="h200", target_config=H200, topology="1x1x1"
    )
    sharding = NamedSharding(topologies.make_mesh(topology, (1,), ("x",)), PartitionSpec())
    place = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)  # noqa: E731
    lowered = lower(function, jax.tree.map(place, arguments))
    return lowered.compile(compiler_options=options or None)


def statistics(function: Callable, arguments) -> dict[str, dict]:
    """Registers and bytes spilled of our kernels in a function, by name."""
    before = set(DUMP.glob("*.ptx"))
    compile_h200(function, arguments)
    found = {}
    for path in set(DUMP.glob("*.ptx")) - before:
        command = ["ptxas", "-v", "-arch=sm_90a", path, "-o", DUMP / "kernel.cubin"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        for part in report.split("Compiling entry function '")[1:]:
            name = part.split("'")[0]
            if not name.startswith("sad_"):
                continue
            first = lambda pattern, part=part: int(re.search(pattern, part)[1])  # noqa: E731
            found[name] = {
                "registers": first(r"Used (\d+) registers"),
                "spill_bytes": first(r"(\d+) bytes spill stores"),
            }
    return found


@dataclasses.dataclass(frozen=True)
class Case:
    """A problem of zeros, of the shapes that matter to a kernel."""

    cell: int = 1
    k: int = 8
    channels: int = 3
    deterministic: bool = True
    launch: Launch = Launch()  # noqa: RUF009 (frozen)
    sites: int = 1000
    shape: tuple[int, int] = (64, 96)

    def make(self) -> tuple[Sites, Candidates, Target]:
        """Sites, lists and target, whose backend is the kernels."""
        n, zeros = self.sites, partial(jnp.zeros, dtype=jnp.float32)
        sites = Sites(
            zeros((n, 2)), zeros(n), zeros(n), zeros((n, self.channels)), zeros((n, 2)), zeros(n)
        )
        canvas = sad.Canvas(self.shape, k=self.k, cell=self.cell)
        ids = jnp.zeros((canvas.grid.rows, canvas.grid.columns, self.k), jnp.int32)
        backend = Backend("pallas", self.launch, self.deterministic)
        target = make_target(canvas.grid, zeros((*self.shape, self.channels)), backend=backend)
        return sites, new_lists(ids, canvas, sites), target


def render(sites: Sites, lists: Candidates, target: Target):
    return passes.draw(target.backend, sites, lists)


def render_gradient(sites: Sites, lists: Candidates, target: Target):
    return jax.grad(lambda sites: jnp.sum(render(sites, lists, target) ** 2))(sites)


def gradient(sites: Sites, lists: Candidates, target: Target):
    return least_squares.gradient(sites, lists, target)


def gradient_and_curvature(sites: Sites, lists: Candidates, target: Target):
    return least_squares.gradient_and_curvature(sites, lists, target)


def change_of_picture(sites: Sites, lists: Candidates, target: Target):
    vector = jnp.ones((2 * (6 + sites.channels), sites.num_sites))  # by two steps, as in a fit
    return least_squares.change_of_picture(sites, lists, target, vector)


def merge(sites: Sites, lists: Candidates, target: Target):
    """The kernel of the propagation alone."""
    grid = lists.grid
    ids = jnp.tile(split_ids(grid, lists.ids), (1, 5, 1))
    places = grid.corners().astype(jnp.float32)
    return merge_lists(site_rows(sites, grid.size), ids, places, lists.k, target.backend.launch)


def propagation(sites: Sites, lists: Candidates, target: Target):
    return sad.propagate(sites, lists, key=jax.random.key(0), implementation=target.backend)


def search(sites: Sites, lists: Candidates, target: Target):
    return sad.find_candidates(sites, lists.canvas, implementation=target.backend)


def state_of(sites: Sites, lists: Candidates, optimizer) -> sad.State:
    return sad.State(sites, lists, optimizer.init(sites), step=jnp.int32(0), key=jax.random.key(0))


def gauss_newton_step(sites: Sites, lists: Candidates, target: Target):
    plane = scale_by_plane()
    state, steps, damping = state_of(sites, lists, plane), jnp.int32(5), jnp.float32(1)
    return run_gauss_newton(state, target, steps, damping, optimizer=plane).sites


def adam_step(sites: Sites, lists: Candidates, target: Target):
    state = state_of(sites, lists, paper_optimizer())
    steps, total = jnp.int32(8), jnp.float32(100)
    return run_adam(state, target, steps, total, rates=RATES, lists_every=8).sites


PASSES = (gradient, gradient_and_curvature, change_of_picture)
KERNELS = (render, *PASSES, merge, search)
STEPS = (render_gradient, propagation, gauss_newton_step, adam_step)
CASES = {
    "cells of 1": Case(),
    "cells of 2": Case(cell=2),
    "cells of 4": Case(cell=4),
    "K = 32": Case(k=32),
    "1 channel": Case(channels=1),
    "4 channels, cells of 2": Case(channels=4, cell=2),
    "8 channels": Case(channels=8),
    "gathered outside": Case(launch=Launch(gather="outside")),
    "256 lanes, 8 warps": Case(launch=Launch(lanes=256, warps=8)),
}
ATOMIC = "atomic additions"
WORK = [(option, function) for option in CASES for function in KERNELS]
CASES[ATOMIC] = Case(deterministic=False)
WORK += [(ATOMIC, function) for function in PASSES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    # read at the first use of XLA, which is below
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={DUMP}"
    os.environ["XLA_FLAGS"] += " --xla_dump_emitter_re=.*"
    os.environ.setdefault("LLVM_DISABLE_SYMBOLIZATION", "1")  # or each warning takes seconds
    rows = []
    for name, function in WORK:
        start = time.process_time()
        found = statistics(function, CASES[name].make())
        seconds = round(time.process_time() - start, 1)
        for kernel, figures in found.items():
            row = {"pass": function.__name__, "option": name, "kernel": kernel} | figures
            rows.append(row | {"compile_cpu_seconds": seconds})
            print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    write_report(args.json, rows=rows)


if __name__ == "__main__":
    main()
