"""``sad-jax info`` and ``convert``: what a file of sites holds; the same in another form."""

from __future__ import annotations

import argparse
from pathlib import Path

from sad_jax.commands import OK, complain, tell
from sad_jax.commands.report import rates, write_json
from sad_jax.commands.runtime import output_path


def run_info(args: argparse.Namespace) -> int:
    """``sad-jax info``: what a file of sites holds."""
    from sad_jax.storage.files import check_suffix, load

    form = check_suffix(args.file)
    sites, canvas = load(args.file, max_pixels=None)  # nothing is drawn
    figures = {
        "form": form.removeprefix("."),
        "width": canvas.width,
        "height": canvas.height,
        "channels": sites.channels,
        "k": canvas.k,
        "cell": canvas.cell,
        **rates(Path(args.file), sites.num_sites, canvas),
    }
    args.interrupts.hold()
    write_json(args.json, figures)
    for name, value in figures.items():
        number = f"{value:.4f}" if isinstance(value, float) else value
        tell(f"{name:12} {number}", args.words)
    return OK


def run_convert(args: argparse.Namespace) -> int:
    """``sad-jax convert``: a file of sites to another form."""
    from sad_jax.model.canvas import Canvas
    from sad_jax.storage.files import check_suffix, load, save

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
