"""``sad-jax view``: a file of sites to a page on which to look around in it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sad_jax.commands import OK, tell
from sad_jax.commands.render import as_target
from sad_jax.commands.runtime import output_path, start_jax


def run_view(args: argparse.Namespace) -> int:
    """``sad-jax view``: one HTML file that draws the diagram in a browser, at any zoom."""
    from sad_jax.model.room import check_room
    from sad_jax.storage.files import check_suffix, load
    from sad_jax.storage.pictures import read_image

    check_suffix(args.file)
    source = Path(args.file)
    out = output_path(args.out or source.with_name(f"{source.stem}_view.html"))
    photo = None
    if args.target is not None:
        photo = read_image(args.target, max_pixels=args.max_pixels)

    start_jax()
    from sad_jax.viz import explore

    sites, canvas = load(source, max_pixels=args.max_pixels)
    check_room(canvas, sites.channels)
    photo = None if photo is None else as_target(photo, (*canvas.shape, sites.channels))
    page = explore(sites, canvas, photo, title=source.stem)
    args.interrupts.hold()
    page.save(out)
    tell(f"{out}: {sites.num_sites} sites, {len(page.html):,} bytes; open it in a browser")
    return OK
