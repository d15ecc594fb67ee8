"""What each part of recipe "fast" is worth: one part changed at a time, the rest as it is.

    python -m experiments.ablation PHOTO [PHOTO ...] [--sites N ...] [--steps T] [--json FILE]

Every figure is of the picture decoded from the file's bytes. The file is rewritten after every fit
and fits that it holds are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

import sad_jax as sad
from experiments.machine import machine
from sad_jax import fast, gauss_newton, train
from sad_jax.io import read_image, write_bytes

COLUMNS = ("photo", "sites", "variant", "psnr", "loop_psnr", "seconds", "steps")


def diagonal_only(blocks: gauss_newton.Blocks, added: jax.Array, right: jax.Array) -> jax.Array:
    return right / (blocks.diagonal + added)


def without_the_last_step(matrix: jax.Array, slope: jax.Array) -> jax.Array:
    first = -slope[0] / jnp.maximum(matrix[0, 0], gauss_newton.TINY)
    return jnp.stack([first, jnp.zeros_like(first)])


def curvature_at_every_step(state, target, steps, *pace):
    """``train.run_gauss_newton`` one step at a time, each with its own curvature."""
    for _ in range(int(steps)):
        state = train.run_gauss_newton(state, target, jnp.int32(1), *pace)
    return state


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is changed: attributes of modules, and settings of the fit."""

    attributes: tuple[tuple[Any, str, Any], ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    from_budget: bool = False  # as many sites at the start as at the end

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        jax.clear_caches()
        with contextlib.ExitStack() as stack:
            for module, name, value in self.attributes:
                stack.enter_context(mock.patch.object(module, name, value))
            yield
        jax.clear_caches()


VARIANTS = {
    "as it is": Variant(),
    "diagonal instead of blocks": Variant(((gauss_newton, "solve_blocks", diagonal_only),)),
    "without the last step": Variant(((gauss_newton, "minimize_in_plane", without_the_last_step),)),
    "curvature at every step": Variant(((fast, "run_gauss_newton", curvature_at_every_step),)),
    "lists every 2 steps": Variant(((fast, "LISTS_EVERY", 2),)),
    "lists every 10 steps": Variant(((fast, "LISTS_EVERY", 10),)),
    "K = 4": Variant(settings={"k": 4}),
    "K = 12": Variant(settings={"k": 12}),
    "cells of 2": Variant(settings={"cell": 2}),
    "no thinning, no moves": Variant(((fast, "MOVED", 0.0),), from_budget=True),
    "moves alone": Variant(from_budget=True),
    "thinning alone": Variant(((fast, "MOVED", 0.0),)),
    "sharp from the start": Variant(((fast, "SOFTEST", 1e6),)),
    "no colour solve": Variant(((fast, "COLOR_ITERATIONS", 0),)),
    "half of the steps": Variant(settings={"steps": fast.STEPS // 2}),
    "twice the steps": Variant(settings={"steps": 2 * fast.STEPS}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, nargs="+", default=[12_500])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json")
    args = parser.parse_args()
    rows: list[dict] = []
    if args.json and Path(args.json).exists():
        rows = json.loads(Path(args.json).read_text())["rows"]
    done = {tuple(row[name] for name in COLUMNS[:3]) for row in rows}
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for photo in args.photos:
        image = read_image(photo)
        for sites in args.sites:
            for name in args.variants:
                if (Path(photo).stem, sites, name) in done:
                    continue
                variant = VARIANTS[name]
                settings: dict[str, Any] = {"steps": args.steps} | variant.settings
                settings |= {"initial_sites": sites} if variant.from_budget else {}
                config = sad.FitConfig(num_sites=sites, **settings)
                with variant.applied():
                    result = sad.fit(image, config, key=jax.random.key(0))
                row = {"photo": Path(photo).stem, "sites": sites, "variant": name}
                row |= {column: getattr(result, column) for column in COLUMNS[3:]}
                rows.append(row)
                values = (f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values())
                print("| " + " | ".join(values) + " |", flush=True)
                if args.json:
                    write_bytes(
                        args.json, json.dumps(machine() | {"rows": rows}, indent=1).encode()
                    )


if __name__ == "__main__":
    main()
