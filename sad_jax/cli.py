"""The command line: fit, render, info, convert.

JAX is imported by the commands, not here, so that ``--help`` and wrong arguments answer at once.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
FRAMES = 120  # of a film, at most


def main(argv: list[str] | None = None) -> int:
    """Runs ``sad-jax``.

    Args:
      argv: the arguments; those of the process by default.

    Returns:
      The exit code: 0, 2 for bad input (one line on stderr says what was expected), 130 if
      interrupted.

    Example:
      >>> from sad_jax.cli import main
      >>> main(["convert", "nowhere.sad", "a.txt"])
      2
    """
    try:
        args = _parser().parse_args(argv)
        args.argv = sys.argv[1:] if argv is None else argv
        return args.run(args)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except (ValueError, OSError, NotImplementedError) as error:
        return _complain(f"error: {error}", BAD_INPUT)


def fit(args: argparse.Namespace) -> int:
    """``sad-jax fit``: a photograph, or a folder of them, to files of sites and their pictures."""
    if Path(args.photo).is_dir():
        return _fit_folder(args)
    figures, interrupted = _fit_photo(args, args.photo)
    _write_json(args.json, figures)
    if interrupted:
        return _complain(f"interrupted; go on with: {_resume_command(args)}", INTERRUPTED)
    return OK


def _fit_folder(args: argparse.Namespace) -> int:
    """Every photograph of a folder; what is done is skipped, what is bad is reported and left out.

    A photograph is done when its figures, ``NAME.json``, are there; they are written last.
    """
    from sad_jax.io import is_picture

    folder, out = Path(args.photo), Path(args.out)
    photos = sorted(path for path in folder.iterdir() if is_picture(path))
    if not photos:
        raise ValueError(f"expected a folder that holds pictures, got none in {folder}")
    if args.mask is not None:
        raise ValueError(f"expected one picture with --mask, got a folder: {folder}")
    if out.exists() and out.samefile(folder):
        raise ValueError(f"expected an --out folder other than that of the pictures, got {out}")
    rows: dict[str, dict] = {}
    failed = interrupted = False
    for photo in photos:
        done = out / f"{photo.stem}.json"
        twin = next((name for name in rows if Path(name).stem == photo.stem), None)
        try:
            if twin is not None:
                raise ValueError(f"expected names that differ before the dot, got also {twin}")
            if not done.exists():
                figures, interrupted = _fit_photo(args, photo)
                if interrupted:
                    break
                _write_json(done, figures)
            rows[photo.name] = json.loads(done.read_text())
        except Exception as error:  # whatever one picture does, the others are fitted
            rows[photo.name] = {"error": f"{error}"}
            failed = True
            _complain(f"error: {photo}: {error}", BAD_INPUT)
    _write_json(args.json, rows)
    _print_table(rows)
    if interrupted:
        return _complain(f"interrupted; go on with: {_resume_command(args)}", INTERRUPTED)
    return BAD_INPUT if failed else OK


def _print_table(rows: dict[str, dict]) -> None:
    """A line a photograph, and the means of what was fitted."""
    width = max(map(len, [*rows, "photo"]), default=0)
    print(f"{'photo':{width}}  {'PSNR':>7} {'SSIM':>7} {'sites':>8} {'bpp':>8} {'seconds':>8}")
    fitted = [row for row in rows.values() if "error" not in row]
    for name, row in rows.items():
        print(f"{name:{width}}  {'failed: ' + row['error'] if 'error' in row else _cells(row)}")
    means = {
        name: sum(values) / len(values)
        for name in ("psnr", "ssim", "sites", "bpp", "seconds")
        if (values := [row[name] for row in fitted if row[name] is not None])
    }
    print(f"{'mean':{width}}  {_cells(means)}" if fitted else "nothing was fitted")
    print(f"{len(fitted)} of {len(rows)} fitted")


def _cells(row: dict) -> str:
    psnr, ssim = (
        f"{'-' if row.get(name) is None else format(row[name], form):>7}"
        for name, form in (("psnr", ".2f"), ("ssim", ".4f"))
    )
    return f"{psnr} {ssim} {row['sites']:8.0f} {row['bpp']:8.3f} {row['seconds']:8.1f}"


def _fit_photo(args: argparse.Namespace, source: str | Path) -> tuple[dict, bool]:
    """One photograph: its figures, and whether Ctrl-C ended the fit."""
    from sad_jax.io import read_image, write_bytes, write_image

    config = _config(args)
    photo = read_image(source)
    height, width, _ = photo.shape
    mask = None if args.mask is None else _read_mask(args.mask, (height, width))
    stem = Path(args.out) / Path(source).stem
    checkpoint = Path(f"{stem}.ckpt")
    config.budget((height, width))  # refuses more sites than pixels
    _check_outputs(args, source, stem, checkpoint)

    jax = _start_jax()
    from sad_jax import viz
    from sad_jax.files import load
    from sad_jax.fit import fit as fit_sites
    from sad_jax.search import find_candidates

    with _Progress(film=args.video, seconds=args.seconds) as progress:
        result = fit_sites(
            photo,
            config,
            key=jax.random.key(args.seed),
            mask=mask,
            progress=progress,
            checkpoint=checkpoint,
            resume=args.resume,
        )

    file = Path(f"{stem}.sad")
    write_bytes(file, result.data)
    sites, canvas = load(file)
    lists = find_candidates(sites, canvas)
    image = _draw(sites, lists, canvas)
    write_image(f"{stem}.png", image if image.shape[2] <= 4 else viz.displayed(image))
    write_image(f"{stem}_diagram.png", viz.diagram(sites, lists))
    write_image(f"{stem}_tau.png", viz.tau_map(sites, lists))
    write_image(f"{stem}_error.png", viz.error_map(image, photo))
    if progress.frames:
        viz.write_film(f"{stem}.gif", progress.frames)

    figures = {
        **_quality(image, photo),
        **_rates(file, sites.num_sites, canvas),
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "steps": result.steps,
        "width": width,
        "height": height,
        "seed": args.seed,
        "recipe": args.recipe,
        "implementation": result.implementation,
        "device": jax.devices()[0].device_kind,
        "versions": _versions(),
    }
    print(
        f"{file}: {_decibels(figures)}, {sites.num_sites} sites, "
        f"{figures['bytes']} bytes = {figures['bpp']:.3f} bpp, {result.steps} steps in "
        f"{result.seconds:.1f} s and {result.compile_seconds:.1f} s of compilation"
    )
    return figures, result.interrupted


def render(args: argparse.Namespace) -> int:
    """``sad-jax render``: a file of sites to a picture, at its own or another size."""
    from sad_jax.files import check_suffix
    from sad_jax.io import read_image, write_image

    check_suffix(args.file)
    source = Path(args.file)
    out = _output(args.out or source.with_name(f"{source.stem}_render.png"))
    target = None if args.target is None else read_image(args.target)  # fails before the work

    _start_jax()
    from sad_jax.files import load
    from sad_jax.viz import displayed

    sites, canvas = load(source)
    shape = _new_shape(args, canvas)
    target = None if target is None else _as_target(target, (*shape, sites.channels))
    start = time.perf_counter()
    image = _picture(args, sites, canvas, shape)
    seconds = time.perf_counter() - start
    fits = image.shape[2] <= 4 or out.suffix.lower() == ".npy"
    write_image(out, image if fits else displayed(image))

    figures = {"width": shape[1], "height": shape[0], "sites": sites.num_sites, "seconds": seconds}
    line = f"{out}: {shape[1]}x{shape[0]}, {sites.num_sites} sites, {seconds:.2f} s"
    if target is not None:
        figures |= _quality(image, target)
        line += f", {_decibels(figures)}"
    _write_json(args.json, figures)
    print(line)
    return OK


def info(args: argparse.Namespace) -> int:
    """``sad-jax info``: what a file of sites holds."""
    from sad_jax.files import check_suffix, load

    form = check_suffix(args.file)
    sites, canvas = load(args.file)
    figures = {
        "form": form.removeprefix("."),
        "width": canvas[1],
        "height": canvas[0],
        "channels": sites.channels,
        "k": canvas.k,
        "cell": canvas.cell,
        **_rates(Path(args.file), sites.num_sites, canvas),
    }
    _write_json(args.json, figures)
    for name, value in figures.items():
        print(f"{name:12} {value:.4f}" if isinstance(value, float) else f"{name:12} {value}")
    return OK


def convert(args: argparse.Namespace) -> int:
    """``sad-jax convert``: a file of sites to another form."""
    from sad_jax.canvas import Canvas
    from sad_jax.files import check_suffix, load, save

    form = check_suffix(args.out)
    sites, canvas = load(args.file)
    save(_output(args.out), sites, canvas)
    official = Canvas(canvas)
    if form != ".sad" and (canvas.k, canvas.cell) != (official.k, official.cell):
        print(
            f"sad-jax: note: {form} means K = {official.k} and cells of {official.cell} pixel, "
            f"the file has K = {canvas.k} and cells of {canvas.cell}: its picture will differ",
            file=sys.stderr,
        )
    return OK


class _Parser(argparse.ArgumentParser):
    """Wrong arguments are bad input like any other: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sad-jax", description="Pictures as Soft Anisotropic Diagrams.")
    parser.add_argument("--version", action="version", version=_version("sad-jax"))
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Callable, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what)
        command.set_defaults(run=run)
        return command

    command = add("fit", fit, "turn a photograph into a file of sites and its pictures")
    command.add_argument(
        "photo",
        metavar="PHOTO",
        help="PNG, JPEG, TIFF, ... or .npy; or a folder of them, of which those are "
        "skipped whose NAME.json is in DIR",
    )
    budget = command.add_mutually_exclusive_group()
    budget.add_argument("--sites", type=_count, metavar="N", help="sites in the file")
    budget.add_argument("--bpp", type=_positive, metavar="B", help="128 bits a site, per pixel")
    command.add_argument("--recipe", choices=("fast", "paper"), default="fast")
    command.add_argument("--steps", type=_count, metavar="T", help="optimiser steps")
    command.add_argument("--seconds", type=_positive, metavar="T", help="time budget of the fit")
    command.add_argument("--seed", type=_seed, default=0, metavar="S")
    command.add_argument("--k", type=_count, metavar="K", help="sites blended in a pixel")
    command.add_argument("--cell", type=int, choices=(1, 2, 4), help="pixels that share a list")
    command.add_argument("--implementation", metavar="NAME", help="of the renderer: xla, pallas")
    command.add_argument("--mask", metavar="FILE", help="picture; black pixels do not count")
    command.add_argument("--out", default="out", metavar="DIR", help="default: %(default)s")
    command.add_argument("--video", action="store_true", help="also write a film of the fit")
    command.add_argument("--resume", action="store_true", help="go on with an interrupted fit")
    command.add_argument("--json", metavar="FILE", help="write the figures")

    command = add("render", render, "draw a file of sites, at its own or another size")
    command.add_argument("file", metavar="FILE", help=".sad, or the official .txt or .json")
    size = command.add_mutually_exclusive_group()
    size.add_argument("--size", type=_size, metavar="WxH", help="pixels")
    size.add_argument("--scale", type=_positive, metavar="X", default=1.0)
    command.add_argument(
        "--keep-radius", action="store_true", help="resize as official programs do"
    )
    command.add_argument("--lists", choices=("exact", "propagated"), default="exact")
    command.add_argument("--out", metavar="PNG", help="default: FILE_render.png beside FILE")
    command.add_argument("--target", metavar="PHOTO", help="report PSNR and SSIM against it")
    command.add_argument("--json", metavar="FILE", help="write the figures")

    command = add("info", info, "say what a file of sites holds")
    command.add_argument("file", metavar="FILE", help=".sad, .txt or .json")
    command.add_argument("--json", metavar="FILE", help="write the figures")

    command = add("convert", convert, "write a file of sites in another form")
    command.add_argument("file", metavar="FILE", help=".sad, .txt or .json")
    command.add_argument("out", metavar="OUT", help=".sad, .txt or .json")
    return parser


def _count(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number from 1")


def _seed(text: str) -> int:
    return _number(text, int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 2^32 - 1")


def _positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a positive number")


def _size(text: str) -> tuple[int, int]:
    """WxH in words to (H, W)."""
    width, _, height = text.lower().partition("x")
    return _count(height), _count(width)


def _number(text, parse, accept, expected):
    try:
        value = parse(text)
    except ValueError:
        value = None
    if value is None or not accept(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def _check_outputs(args, photo: str | Path, stem: Path, checkpoint: Path) -> None:
    """Finds what would make a fit fail at its end, before it starts."""
    for suffix in (".sad", ".png", "_diagram.png", "_tau.png", "_error.png", ".gif"):
        path = _output(f"{stem}{suffix}")
        for source in filter(None, (photo, args.mask)):
            if path.exists() and path.samefile(source):
                raise ValueError(f"expected another --out folder, got the one that holds {source}")
    if args.json is not None:
        _output(args.json)
    if args.resume and not checkpoint.exists() and not Path(args.photo).is_dir():
        raise ValueError(f"expected an interrupted fit to resume, got no such file: {checkpoint}")


def _read_mask(path: str, shape: tuple[int, int]):
    """A mask as float32[H, W]: the brightness of a picture of the photograph's size."""
    from sad_jax.io import read_image
    from sad_jax.viz import displayed

    mask = displayed(read_image(path)).mean(axis=-1)
    if mask.shape != shape:
        raise ValueError(
            f"expected a mask of {shape[1]}x{shape[0]} pixels, "
            f"got {mask.shape[1]}x{mask.shape[0]}: {path}"
        )
    return mask


def _config(args):
    from sad_jax.fit import FitConfig

    given = {
        "num_sites": args.sites,
        "bpp": args.bpp,
        "steps": args.steps,
        "seconds": args.seconds,
        "k": args.k,
        "cell": args.cell,
        "implementation": args.implementation,
    }
    make = FitConfig.paper if args.recipe == "paper" else FitConfig
    return make(**{name: value for name, value in given.items() if value is not None})


def _new_shape(args, shape: tuple[int, int]) -> tuple[int, int]:
    if args.size is not None:
        return args.size
    height, width = (max(1, round(side * args.scale)) for side in shape)
    return height, width


def _as_target(photo, shape: tuple[int, int, int]):
    """A photograph to compare with a picture of ``shape``; an alpha that hides nothing goes."""
    if photo.shape[2] == shape[2] + 1 and photo[..., -1].min() == 1.0:
        photo = photo[..., :-1]
    if photo.shape != shape:
        expected, got = (f"{w}x{h} pixels of {c} channels" for h, w, c in (shape, photo.shape))
        raise ValueError(f"expected a target of {expected}, got {got}")
    return photo


def _picture(args, sites, canvas, shape: tuple[int, int]):
    """The picture of a file at ``shape``; at another size the stored one is sampled anew."""
    import jax

    from sad_jax.candidates import flood_candidates
    from sad_jax.canvas import Canvas
    from sad_jax.search import find_candidates
    from sad_jax.sites import resize

    if args.keep_radius:
        sites = resize(sites, canvas, shape, scale_radius=False)
        canvas = Canvas(shape, k=canvas.k, cell=canvas.cell)
    if args.lists == "exact":
        lists = find_candidates(sites, canvas)
    else:
        lists = flood_candidates(sites, canvas, key=jax.random.key(0))
    return _draw(sites, lists, shape)


def _draw(sites, lists, shape: tuple[int, int]):
    """A picture as it is shown, float32[H, W, C] in [0, 1]."""
    import numpy as np

    from sad_jax.render import render, resample

    image = render(sites, lists) if shape == lists.shape else resample(sites, lists, shape)
    return np.clip(np.asarray(image), 0.0, 1.0)


def _quality(image, target) -> dict:
    from sad_jax.metrics import json_number, psnr, ssim

    return {"psnr": json_number(psnr(image, target)), "ssim": json_number(ssim(image, target))}


def _decibels(figures: dict) -> str:
    return "no error" if figures["psnr"] is None else f"{figures['psnr']:.2f} dB"


def _rates(file: Path, num_sites: int, shape: tuple[int, int]) -> dict:
    """Sites and bytes of a file, and both in bits a pixel."""
    from sad_jax.config import BITS_PER_SITE

    size, pixels = file.stat().st_size, shape[0] * shape[1]
    return {
        "sites": num_sites,
        "bytes": size,
        "bpp": 8 * size / pixels,
        "nominal_bpp": BITS_PER_SITE * num_sites / pixels,
    }


class _Progress:
    """The bar, on a terminal only, and the frames of the film."""

    def __init__(self, *, film: bool, seconds: float | None):
        from tqdm import tqdm

        self.bar = tqdm(disable=None, unit="step", dynamic_ncols=True)
        self.film = film
        self.seconds = seconds or math.inf
        self.frames: list = []

    def __call__(self, state) -> None:
        from sad_jax.viz import film_frame

        affordable = state.step * self.seconds / max(state.seconds, 1e-9)
        total = math.ceil(min(state.steps, max(state.step, affordable)))
        self.bar.total = total
        self.bar.set_postfix_str(f"{state.psnr:.2f} dB, {state.num_sites} sites")
        self.bar.update(state.step - self.bar.n)
        if self.film and state.step * FRAMES >= len(self.frames) * total:
            self.frames.append(film_frame(state.image()))

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()


def _start_jax():
    """Imports JAX with the compile cache on, so that a second run starts at once.

    The cache lies in ``$SAD_JAX_CACHE``, by default in the user's cache folder; an empty value
    turns it off, and one that JAX was already told of stays. Loading from it, XLA 0.10 reports
    tuning hints of the very same CPU as errors (jax-ml/jax#38445), which would drown our one line.
    """
    import jax

    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("SAD_JAX_CACHE", str(Path(home) / "sad-jax"))
    if cache and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        if "JAX_LOGGING_LEVEL" not in os.environ:
            jax.config.update("jax_logging_level", "CRITICAL")
    return jax


def _output(path: str | os.PathLike) -> Path:
    """A path to write to, whose folder exists."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"expected a folder to write into, got a file: {path.parent}") from None
    if path.is_dir():
        raise ValueError(f"expected a file to write, got a directory: {path}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"expected a folder to write into, got a read-only one: {path.parent}")
    return path


def _write_json(path: str | Path | None, figures: dict) -> None:
    from sad_jax.io import write_bytes

    if path is not None:
        text = json.dumps(figures, indent=2, allow_nan=False)
        write_bytes(_output(path), f"{text}\n".encode())


def _versions() -> dict[str, str]:
    packages = ("sad-jax", "jax", "jaxlib", "numpy")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed


def _resume_command(args) -> str:
    """The arguments again, with ``--resume``."""
    words = [word for word in args.argv if word != "--resume"]
    return shlex.join(["sad-jax", *words, "--resume"])


def _complain(message: str, code: int) -> int:
    print("sad-jax: " + " ".join(message.split()), file=sys.stderr)
    return code
