"""What passes must move and compute, and what that lets expect of an H200: predictions.

    python -m experiments.gpu.predict [--json FILE]

Nothing is run.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import sad_jax as sad
from experiments.machine import write_report


class Pass(NamedTuple):
    """What a pass asks of the kernels: see ``blend.py`` and ``site_sums.py`` in ``kernels_pallas``.

    ``entries``: what a site receives; ``known``: channels that the blend writes out for the sites,
    the second weighted sum's among them; operations: ``blend`` and ``slot``, of a site on a pixel.
    """

    entries: int
    known: int
    blend: int
    slot: int


PASSES = {  # for three channels
    "render": Pass(0, 3, blend=36, slot=0),
    "gradient": Pass(10, 5, blend=36, slot=100),
    "gradient and curvature": Pass(50, 5, blend=36, slot=200),
    "change of the picture": Pass(0, 6, blend=86, slot=0),
}


class Size(NamedTuple):
    """Of a picture with cells of one pixel and three channels, and its diagram."""

    pixels: int
    k: int
    sites: int

    def blend_bytes(self, written: int) -> int:
        """Lists, corners and what is written out."""
        return 4 * self.pixels * (self.k + 2 + written)

    def site_bytes(self, work: Pass) -> int:
        """Cells in the order of the sites, corners, what is known of pixels, pictures; sums."""
        return 4 * (self.pixels * (self.k + 2 + work.known + 4) + self.sites * work.entries)

    def least_bytes(self, work: Pass, deterministic: bool) -> int:
        """What a pass must at least move."""
        if not work.entries:
            return self.blend_bytes(3)
        if deterministic:
            return self.blend_bytes(work.known) + self.site_bytes(work)
        slot_sums = 2 * self.pixels * self.k * work.entries  # out and in again
        return self.blend_bytes(0) + 4 * (4 * self.pixels + slot_sums)


def predict() -> dict:
    """Milliseconds at 768x512, 50,000 sites, K = 8, cells of 1, on an H200: from assumptions.

    A kernel moves 2.15 TB/s, half of a copy's; gathers from the cache bring it 2.5 TB/s; it does
    1e13 operations a second, a third of what there are; the slowest of these counts. The cache
    takes 1e11 atomic additions of floats a second. A sort does 1.2e10 pairs a second. Sort,
    curvature and one more change of the picture come once a search in Gauss-Newton, the sort once
    a propagation in the paper's. A launch costs 3 us: the compiled steps have 38 and 32, a pass 4,
    a propagation 22, what comes once a search 33. What is done site by site moves 100 and 20 MB a
    step.
    """
    size, launch = Size(768 * 512, 8, 50_000), 3e-3
    move, cache, compute = 2.15e9, 2.5e9, 1e10  # a millisecond
    slots = size.pixels * size.k
    lanes = slots + 16 * size.sites  # half of each site's last warp is idle

    def passed(work: Pass, deterministic: bool) -> float:
        if work.entries and not deterministic:
            moved = size.least_bytes(work, deterministic) / move
            computed = slots * (work.blend + work.slot) / compute
            return max(moved, computed) + slots * work.entries / 1e8
        blended = max(size.blend_bytes(work.known) / move, slots * work.blend / compute)
        if not work.entries:
            return blended
        computed = (lanes * work.slot + 320 * size.sites * work.entries) / compute
        gathered = 4 * slots * (1 + 2 + work.known + 4) / cache
        return blended + max(size.site_bytes(work) / move, gathered, computed)

    sort = slots / 1.2e7
    merged = 45 * size.pixels * (20 + 8 * size.k) / compute + 22 * launch
    rows: dict[str, dict[str, float]] = {}
    for kind, deterministic in (("fixed order", True), ("atomic additions", False)):
        turned = sort * deterministic
        spent = {name: passed(work, deterministic) for name, work in PASSES.items()}
        push, both = spent["change of the picture"], spent["gradient and curvature"]
        once = both - spent["gradient"] + push + turned + 33 * launch
        newton = spent["gradient"] + push + once / sad.FastRecipe().lists_every
        paper = spent["gradient"] + (turned + merged) / sad.PaperRecipe().lists_every
        spent = {name: kernels + 4 * launch for name, kernels in spent.items()}
        spent["gauss-newton step"] = newton + 38 * launch + 1e8 / move
        spent["paper step"] = paper + 32 * launch + 2e7 / move
        spent["transposed lists"] = turned
        for name, value in spent.items():
            rows.setdefault(name, {})[kind] = value
    return {"prediction": True, "doc": predict.__doc__, "milliseconds": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    report = predict()
    for name, values in report["milliseconds"].items():
        print("  ".join([f"{v:8.3f} ms ({kind})" for kind, v in values.items()]), name)
    write_report(args.json, **report)


if __name__ == "__main__":
    main()
