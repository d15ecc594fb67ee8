"""``sad-jax render``: a file of sites to a picture, a band of rows at a time."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sad_jax.commands import OK, tell
from sad_jax.commands.interrupts import Interrupts
from sad_jax.commands.report import decibels, quality, write_json
from sad_jax.commands.runtime import output_path, start_jax

LARGEST = 2**31 - 1  # pixels a side

if TYPE_CHECKING:
    import numpy as np

    from sad_jax.coding.reader import SadFile
    from sad_jax.lists.candidates import Candidates
    from sad_jax.model.canvas import Canvas
    from sad_jax.model.sites import Sites


def run_render(args: argparse.Namespace) -> int:
    """``sad-jax render``: a file of sites to a picture, at its own or another size.

    PNG, TIFF and ``.npy`` are written as they are drawn; of other formats, and beside a target, the
    whole picture is held.
    """
    import numpy as np

    from sad_jax.storage.files import check_suffix
    from sad_jax.storage.pictures import Form, displayed, read_image, write_bands

    check_suffix(args.file)
    source = Path(args.file)
    out = output_path(args.out or source.with_name(f"{source.stem}_render.png"))
    form = Form.of(out, 1, args.bits)  # these fail before the work
    target = None
    if args.target is not None:
        target = read_image(args.target, max_pixels=args.max_pixels)

    start_jax()
    from sad_jax.model.room import check_room, check_size

    drawing = (_draw_whole if args.crop is None else _draw_part)(args, source)
    height, width, channels = shape = drawing.shape
    check_size(width, height, channels, args.max_pixels)
    whole = target is not None or not form.streams
    check_room(drawing.cells, channels, (height, width) if whole else None)
    if target is not None:
        target = as_target(drawing.part_of(target), shape)
    shown = channels if channels <= form.most_channels else 3
    bands, kept = Watched(drawing.bands(), args.interrupts), list[np.ndarray]()

    def written(band: np.ndarray) -> np.ndarray:
        if target is not None:
            kept.append(band)
        return band if shown == channels else displayed(band)

    first = next(bands)
    args.interrupts.hold()
    every = map(written, itertools.chain([first], bands))
    write_bands(out, (height, width, shown), every, bits=args.bits)

    figures = {"width": width, "height": height, "sites": drawing.sites, "seconds": bands.seconds}
    line = f"{out}: {width}x{height}, {drawing.sites} sites, {bands.seconds:.2f} s"
    if target is not None:
        figures |= quality(np.concatenate(kept), target)
        line += f", {decibels(figures)}"
    write_json(args.json, figures)
    tell(line, args.words)
    return OK


class Drawing(NamedTuple):
    """A picture that is to be drawn.

    ``shape``: (H, W, C); ``sites``: of which it is made; ``cells``: the canvas whose lists exist at
    once; ``bands``: draws it from the top down, float32[h, W, C] each; ``part_of``: what it shows
    of a target.
    """

    shape: tuple[int, int, int]
    sites: int
    cells: Canvas
    bands: Callable[[], Iterator[np.ndarray]]
    part_of: Callable[[np.ndarray], np.ndarray] = lambda target: target


class Watched:
    """Bands as they come: the seconds that they take, and Ctrl-C between two of them."""

    def __init__(self, bands: Iterator[np.ndarray], interrupts: Interrupts):
        self._bands, self._interrupts, self.seconds = bands, interrupts, 0.0

    def __iter__(self) -> Watched:
        return self

    def __next__(self) -> np.ndarray:
        self._interrupts.check()
        start = time.perf_counter()
        band = next(self._bands)
        self.seconds += time.perf_counter() - start
        return band


def _draw_whole(args: argparse.Namespace, source: Path) -> Drawing:
    """A file at its own or another size."""
    from sad_jax.draw.bands import Window
    from sad_jax.lists.view import View
    from sad_jax.model.canvas import Canvas
    from sad_jax.storage.files import check_suffix, load

    file = _open(args, source) if check_suffix(source) == ".sad" or args.level else None
    if file is None:
        sites, canvas = load(source, max_pixels=args.max_pixels)
        channels, count = sites.channels, sites.num_sites
    else:
        _check_whole(file, source)
        canvas, channels = file.canvas, file.channels
        count = -(-file.num_sites >> file.level)
    shape = _new_shape(args, canvas)
    own = replace(canvas, shape=shape) if args.keep_radius else canvas
    if args.lists != "exact":
        cells = own
    elif shape == own.shape:
        first = Window.whole(own).bands(own.cell)[0]
        cells = replace(own, shape=(first.height, first.width))
    else:
        cells = Canvas(View.of(own, shape).band, k=own.k)

    def bands() -> Iterator[np.ndarray]:
        if file is not None and shape == canvas.shape and args.lists == "exact":
            return file.bands()
        return _draw_sites(args, file.sites() if file else sites, canvas, shape)

    return Drawing((*shape, channels), count, cells, bands)


def _draw_sites(
    args: argparse.Namespace, sites: Sites, canvas: Canvas, shape: tuple[int, int]
) -> Iterator[np.ndarray]:
    """The bands of a picture at ``shape`` of sites on a canvas, drawn as the arguments want it."""
    import jax

    from sad_jax.draw.bands import render_bands, resample_bands
    from sad_jax.lists.flooding import flood_candidates
    from sad_jax.model.sites import resize

    if args.keep_radius:
        sites = resize(sites, canvas, shape, scale_radius=False)
        canvas = replace(canvas, shape=shape)
    if args.lists == "propagated":
        return iter([draw(sites, flood_candidates(sites, canvas, key=jax.random.key(0)), shape)])
    if shape == canvas.shape:
        return render_bands(sites, canvas)
    return resample_bands(sites, canvas, shape)


def _draw_part(args: argparse.Namespace, source: Path) -> Drawing:
    """A part of a file, of which only that is read; a target may be of the part or the whole."""
    file = _open(args, source)
    x, y, width, height = args.crop
    first = file.window_of(args.crop).bands(file.canvas.cell)[0]
    cells = replace(file.canvas, shape=(first.height, first.width))

    def part_of(target: np.ndarray) -> np.ndarray:
        whole = target.shape[:2] == file.canvas.shape
        return target[y : y + height, x : x + width] if whole else target

    shape = height, width, file.channels
    return Drawing(shape, file.num_sites, cells, lambda: file.bands(args.crop), part_of)


def _check_whole(file: SadFile, source: Path) -> None:
    try:
        file.check()
    except ValueError as error:
        raise ValueError(f"{error}: {source}") from error


def _open(args: argparse.Namespace, source: Path) -> SadFile:
    from sad_jax.coding import reader

    return reader.open(source, level=args.level, max_pixels=args.max_pixels)


def draw(sites: Sites, lists: Candidates | Canvas, shape: tuple[int, int]) -> np.ndarray:
    """A picture, float32[H, W, C] in the range of its colours; sampled anew at another size."""
    import numpy as np

    from sad_jax.draw.api import render, resample
    from sad_jax.model.canvas import Canvas
    from sad_jax.model.value_range import ValueRange

    own = shape == (lists if isinstance(lists, Canvas) else lists.canvas).shape
    image = render(sites, lists) if own else resample(sites, lists, shape)
    return np.clip(np.asarray(image), *ValueRange.of(sites.color))


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
