"""Steps a second of both recipes, and where a step's time goes, by plain XLA.

    python -m experiments.speed.steps PHOTO [--sites 12500] [--json FILE]

Sites are those of a start with so many sites; the figures are medians over repeated calls in one
process, compilation excluded. A paper step has its share of a propagation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from experiments.machine import machine, write_report
from experiments.speed.passes import Bench, arguments, milliseconds
from sad_jax.backend import Backend
from sad_jax.draw.xla import scatter, site_table, split_ids
from sad_jax.model.score import gather

REPEATS = 15


def parts(bench: Bench) -> dict[str, float]:
    """Milliseconds of what a pass does besides its arithmetic: reading the sites, and adding up."""
    grid, n = bench.lists.grid, bench.sites.num_sites
    blocks = split_ids(grid, bench.lists.ids)
    entries = 6 + bench.sites.channels  # of a gradient
    slots = jnp.ones((len(blocks), entries, *blocks.shape[1:]))

    @jax.jit
    def gather_all(table):
        return jax.lax.map(lambda ids: gather(table, ids).sum(), blocks)

    @jax.jit
    def scatter_all(slots):
        start = jnp.zeros((entries, n))
        return jax.lax.scan(lambda sums, b: (scatter(sums, *b), None), start, (blocks, slots))[0]

    table = site_table(bench.sites, grid.size)
    return {
        "of a pass: gather of the sites' rows": milliseconds(gather_all, table, repeats=REPEATS),
        "of a pass: reduction to sites": milliseconds(scatter_all, slots, repeats=REPEATS),
    }


def main() -> None:
    args, photo = arguments(__doc__)
    bench = Bench(photo, args.sites, Backend("xla_vjp"))
    figures = {
        name: milliseconds(function, repeats=REPEATS) / count
        for name, (function, count) in bench.steps().items()
        if name != "transposed lists"  # nothing to do in XLA
    }
    for name, function in bench.passes().items():
        figures[name] = milliseconds(function, bench.sites, repeats=REPEATS)
    figures |= parts(bench)
    height, width = bench.canvas.shape
    print(f"{args.photo}: {width}x{height}, {args.sites} sites; {machine()['cpu']}")
    for name, value in figures.items():
        print(f"{value:10.2f} ms  {name}")
    rate = 1e3 / figures["paper step"]
    print(f"{rate:10.1f} Adam steps a second")
    known = {"photo": args.photo, "sites": args.sites, "adam_steps_per_second": rate}
    write_report(args.json, **known, milliseconds=figures)


if __name__ == "__main__":
    main()
