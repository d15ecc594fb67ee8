"""``sad-jax info`` and ``convert``: what a file of sites holds, or what runs here; other forms."""

from __future__ import annotations

import argparse
from pathlib import Path

from sad_jax.commands import OK, complain, tell
from sad_jax.commands.report import Figures, rates, versions, write_json
from sad_jax.commands.runtime import output_path, start_jax


def run_info(args: argparse.Namespace) -> int:
    """``sad-jax info``: what a file of sites holds; without one, what fits and draws here."""
    figures = _machine() if args.file is None else _contents(args.file)
    args.interrupts.hold()
    write_json(args.json, figures)
    for name, value in figures.items():
        number = f"{value:.4f}" if isinstance(value, float) else value
        tell(f"{name:12} {number}", args.words)
    return OK


def _contents(file: str) -> Figures:
    from sad_jax.storage.files import check_suffix, load

    form = check_suffix(file)
    sites, canvas = load(file, max_pixels=None)  # nothing is drawn
    return {
        "form": form.removeprefix("."),
        "width": canvas.width,
        "height": canvas.height,
        "channels": sites.channels,
        "k": canvas.k,
        "cell": canvas.cell,
        **rates(Path(file), sites.num_sites, canvas.pixels),
    }


def _machine() -> Figures:
    """Versions, the default device, the engine that runs on it, and what would be faster."""
    jax = start_jax()
    from sad_jax.backend import engine

    found = engine()
    here = {"device": str(jax.devices()[0]), "engine": found.name, "because": found.why}
    return versions() | here | ({"faster": found.faster} if found.faster else {})


def run_convert(args: argparse.Namespace) -> int:
    """``sad-jax convert``: a file of sites to another form."""
    from sad_jax.coding.encode import save
    from sad_jax.model.canvas import Canvas
    from sad_jax.storage.files import check_suffix, load

    form = check_suffix(args.out)
    sites, canvas = load(args.file, max_pixels=None)  # nothing is drawn
    args.interrupts.hold()
    save(output_path(args.out), sites, canvas)
    official = Canvas(canvas.shape)
    if form != ".sad" and canvas != official:
        complain(
            f"note: {form} means K = {official.k} and cells of {official.cell} pixel, "
            f"the file has K = {canvas.k} and cells of {canvas.cell}: its picture will differ"
        )
    return OK
