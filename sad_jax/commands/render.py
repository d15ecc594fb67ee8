"""``sad-jax render``: a file of sites to a picture."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sad_jax.commands import OK, tell
from sad_jax.commands.report import decibels, quality, write_json
from sad_jax.commands.runtime import output_path, start_jax

LARGEST = 2**31 - 1  # pixels a side

if TYPE_CHECKING:
    import numpy as np

    from sad_jax.lists.candidates import Candidates
    from sad_jax.model.canvas import Canvas
    from sad_jax.model.sites import Sites


def run_render(args: argparse.Namespace) -> int:
    """``sad-jax render``: a file of sites to a picture, at its own or another size."""
    from sad_jax.storage.files import check_suffix
    from sad_jax.storage.pictures import displayed, read_image, write_image

    check_suffix(args.file)
    source = Path(args.file)
    out = output_path(args.out or source.with_name(f"{source.stem}_render.png"))
    target = None  # read first, as it fails before the work
    if args.target is not None:
        target = read_image(args.target, max_pixels=args.max_pixels)

    start_jax()
    shown = (_draw_whole if args.crop is None else _draw_part)(args, source, target)
    args.interrupts.hold()
    image = shown.image
    height, width, channels = image.shape
    fits = channels <= 4 or out.suffix.lower() == ".npy"
    write_image(out, image if fits else displayed(image))

    figures = {"width": width, "height": height, "sites": shown.sites, "seconds": shown.seconds}
    line = f"{out}: {width}x{height}, {shown.sites} sites, {shown.seconds:.2f} s"
    if shown.target is not None:
        figures |= quality(image, shown.target)
        line += f", {decibels(figures)}"
    write_json(args.json, figures)
    tell(line, args.words)
    return OK


class Shown(NamedTuple):
    """A picture float32[H, W, C], of how many sites, the seconds it took, and its target if any."""

    image: np.ndarray
    sites: int
    seconds: float
    target: np.ndarray | None


def _draw_whole(args: argparse.Namespace, source: Path, target: np.ndarray | None) -> Shown:
    """A file at its own or another size."""
    from sad_jax.coding import reader
    from sad_jax.model.room import check_room
    from sad_jax.storage.files import load

    if args.level:
        file = reader.open(source, level=args.level, max_pixels=args.max_pixels)
        sites, canvas = file.sites(), file.canvas
    else:
        sites, canvas = load(source, max_pixels=args.max_pixels)
    shape = _new_shape(args, canvas)
    drawn = replace(canvas, shape=shape) if args.keep_radius else canvas
    check_room(drawn, sites.channels, shape)
    target = None if target is None else as_target(target, (*shape, sites.channels))
    start = time.perf_counter()
    image = _draw_file(args, sites, canvas, shape)
    return Shown(image, sites.num_sites, time.perf_counter() - start, target)


def _draw_part(args: argparse.Namespace, source: Path, target: np.ndarray | None) -> Shown:
    """A part of a file, of which only that is read; a target may be of the part or the whole."""
    from sad_jax.coding import reader

    file = reader.open(source, level=args.level, max_pixels=args.max_pixels)
    x, y, width, height = args.crop
    if target is not None:
        whole = target.shape[:2] == file.canvas.shape
        target = target[y : y + height, x : x + width] if whole else target
        target = as_target(target, (height, width, file.channels))
    start = time.perf_counter()
    image = file.render(args.crop)
    return Shown(image, file.num_sites, time.perf_counter() - start, target)


def draw(sites: Sites, lists: Candidates | Canvas, shape: tuple[int, int]) -> np.ndarray:
    """A picture, float32[H, W, C] in the range of its colours; sampled anew at another size."""
    import numpy as np

    from sad_jax.draw.api import render, resample
    from sad_jax.model.canvas import Canvas
    from sad_jax.model.value_range import ValueRange

    own = shape == (lists if isinstance(lists, Canvas) else lists.canvas).shape
    image = render(sites, lists) if own else resample(sites, lists, shape)
    return np.clip(np.asarray(image), *ValueRange.of(sites.color))


def _draw_file(
    args: argparse.Namespace, sites: Sites, canvas: Canvas, shape: tuple[int, int]
) -> np.ndarray:
    """The picture of a file at ``shape``, drawn as the arguments want it."""
    import jax

    from sad_jax.lists.flooding import flood_candidates
    from sad_jax.model.canvas import Canvas
    from sad_jax.model.sites import resize

    if args.keep_radius:
        sites = resize(sites, canvas, shape, scale_radius=False)
        canvas = Canvas(shape, k=canvas.k, cell=canvas.cell)
    if args.lists == "exact":
        return draw(sites, canvas, shape)
    return draw(sites, flood_candidates(sites, canvas, key=jax.random.key(0)), shape)


def _new_shape(args: argparse.Namespace, canvas: Canvas) -> tuple[int, int]:
    if args.size is not None:
        return args.size
    sides = [side * args.scale for side in canvas.shape]
    if max(sides) > LARGEST:
        raise ValueError(f"expected at most {LARGEST} pixels a side, got {max(sides):.3g}")
    height, width = (max(1, round(side)) for side in sides)
    return height, width


def as_target(photo: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A photograph to compare with a picture of ``shape``; an alpha that hides nothing goes."""
    if photo.shape[2] == shape[2] + 1 and photo[..., -1].min() == 1.0:
        photo = photo[..., :-1]
    if photo.shape != shape:
        expected, got = (f"{w}x{h} pixels of {c} channels" for h, w, c in (shape, photo.shape))
        raise ValueError(f"expected a target of {expected}, got {got}")
    return photo
