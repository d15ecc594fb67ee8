"""The arguments of ``sad-jax``: every command with its options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from sad_jax.commands.files import run_convert, run_info
from sad_jax.commands.fit import run_fit
from sad_jax.commands.render import run_render
from sad_jax.commands.report import version
from sad_jax.commands.view import run_view
from sad_jax.model.room import MAX_PIXELS

FILE = ".sad, .txt or .json"


def make_parser() -> argparse.ArgumentParser:
    """The parser; what it gives holds the command's function as ``run``.

    It raises a ValueError for arguments that it does not take.
    """
    parser = _Parser(prog="sad-jax", description="Pictures as Soft Anisotropic Diagrams.")
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show program's version number and exit"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Callable, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what)
        command.set_defaults(run=run)
        return command

    _describe_fit(add("fit", run_fit, "turn a photograph into a file of sites and its pictures"))
    _describe_render(add("render", run_render, "draw a file of sites, at its own or another size"))
    _describe_view(add("view", run_view, "write a page that shows a file of sites in a browser"))
    info = add("info", run_info, "say what a file of sites holds, or what runs on this machine")
    info.add_argument(
        "file", type=_path, metavar="FILE", nargs="?", help=f"{FILE}; without one: the machine"
    )
    _describe_json(info)
    convert = add("convert", run_convert, "write a file of sites in another form")
    convert.add_argument("file", type=_path, metavar="FILE", help=FILE)
    convert.add_argument("out", type=_path, metavar="OUT", help=FILE)
    return parser


def _describe_fit(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "photo",
        type=_path,
        metavar="PHOTO",
        help="PNG, JPEG, TIFF, ... or .npy; or a folder of them, of which those are "
        "skipped whose NAME.json in DIR is of the same picture and settings",
    )
    budget = command.add_mutually_exclusive_group()
    budget.add_argument("--sites", type=_count, metavar="N", help="sites in the file")
    budget.add_argument(
        "--bpp",
        type=_positive,
        metavar="B",
        help="sites by the paper's nominal rate: 128 bits a site, whatever the file takes",
    )
    size = command.add_mutually_exclusive_group()
    size.add_argument(
        "--quality",
        type=_quality,
        metavar="Q",
        help="of the file, in dB: how far below the picture's error plain rounding would stay; the "
        "default loses about 0.3 dB; or lossless, 40 bytes a site",
    )
    size.add_argument(
        "--bytes",
        type=_count,
        metavar="B",
        help="the file has at most so many bytes; sites, unless given, and quality are chosen",
    )
    size.add_argument(
        "--bpp-file", type=_positive, metavar="B", help="the same in bits a pixel of the real file"
    )
    size.add_argument(
        "--psnr", type=_positive, metavar="P", help="the file has at least this PSNR, if it can"
    )
    add(
        "--initial-sites",
        type=_count,
        metavar="N",
        help="at the start, thinned to the budget later; fewer take less memory",
    )
    add("--recipe", choices=("fast", "paper"), default="fast")
    add("--steps", type=_count, metavar="T", help="optimiser steps")
    add("--seconds", type=_positive, metavar="T", help="time budget, compilation apart")
    add("--seed", type=_seed, default=0, metavar="S")
    add("--k", type=_count, metavar="K", help="sites blended in a pixel")
    add("--cell", type=int, choices=(1, 2, 4), help="pixels that share a list")
    add(
        "--supersampling",
        type=int,
        choices=(1, 2, 4),
        help="the picture has so many times the photograph's pixels a side, whose means are fitted "
        "to it: for enlarging",
    )
    add("--implementation", metavar="NAME", help="of the renderer: xla, cpu, pallas")
    add("--mask", type=_path, metavar="FILE", help="picture; black pixels do not count")
    add("--out", type=_path, default="out", metavar="DIR", help="default: %(default)s")
    add(
        "--video",
        action="store_true",
        help="also write a film of the fit: MP4 with sad-jax[video], else GIF",
    )
    add("--resume", action="store_true", help="go on with an interrupted fit")
    add("--force", action="store_true", help="of a folder: fit again what has results in DIR")
    workers = command.add_mutually_exclusive_group()
    workers.add_argument(
        "--workers", type=_count, metavar="N", help="of a folder: so many processes fit at once"
    )
    workers.add_argument(
        "--cluster",
        type=_path,
        metavar="ADDRESS",
        help="of a folder: the workers of a dask scheduler fit, which see the same folders; or its "
        "--scheduler-file",
    )
    add(
        "--checkpoint-seconds",
        type=_positive,
        default=30.0,
        metavar="T",
        help="between two writes of what --resume goes on from, default: %(default)g",
    )
    _limit(command)
    _describe_json(command)


def _describe_render(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("file", type=_path, metavar="FILE", help=".sad, or the official .txt or .json")
    size = command.add_mutually_exclusive_group()
    size.add_argument("--size", type=_size, metavar="WxH", help="pixels")
    size.add_argument("--scale", type=_positive, metavar="X", default=1.0)
    size.add_argument(
        "--crop",
        type=_crop,
        metavar="X,Y,W,H",
        help="a part; of a .sad, only what it needs is read",
    )
    add(
        "--level",
        type=int,
        choices=range(32),
        default=0,
        metavar="L",
        help="of detail, of a .sad file: every 2^L-th site; from 4 on the file's start is enough",
    )
    add("--keep-radius", action="store_true", help="resize as official programs do")
    add("--lists", choices=("exact", "propagated"), default="exact")
    add("--out", type=_path, metavar="PNG", help="default: FILE_render.png beside FILE")
    add(
        "--bits",
        type=int,
        choices=(8, 16, 32),
        help="of a sample: 8; 16 for PNG and TIFF; 32, floats, for TIFF and .npy",
    )
    add("--target", type=_path, metavar="PHOTO", help="report PSNR and SSIM against it")
    _limit(command)
    _describe_json(command)


def _describe_view(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("file", type=_path, metavar="FILE", help=FILE)
    add("--out", type=_path, metavar="HTML", help="default: FILE_view.html beside FILE")
    add("--target", type=_path, metavar="PHOTO", help="to compare with, and for the error")
    _limit(command)


def _describe_json(command: argparse.ArgumentParser) -> None:
    help_text = "write the figures; - for stdout, words then go to stderr"
    command.add_argument("--json", type=_path, metavar="FILE", help=help_text)


def _limit(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-pixels",
        type=_pixels,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures, default: %(default)d",
    )


class _Parser(argparse.ArgumentParser):
    """Wrong arguments are bad input like any other: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for, as that takes longer than all the rest."""

    def __call__(self, parser, *_) -> None:
        print(version("sad-jax"))
        parser.exit()


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    return text


def _count(text: str) -> int:
    return _number(text, int, lambda value: 1 <= value < 2**31, "a whole number from 1 to 2^31 - 1")


def _pixels(text: str) -> int:
    return _number(text, int, lambda value: 1 <= value < 2**63, "a whole number from 1 to 2^63 - 1")


def _seed(text: str) -> int:
    return _number(text, int, lambda value: 0 <= value < 2**32, "a whole number from 0 to 2^32 - 1")


def _positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a positive number")


def _quality(text: str) -> float | str:
    if text == "lossless":
        return text
    return _number(text, float, lambda value: abs(value) <= 60, "-60 to 60 dB or lossless")


def _size(text: str) -> tuple[int, int]:
    """WxH in words to (H, W)."""
    width, _, height = text.lower().partition("x")
    return _count(height), _count(width)


def _crop(text: str) -> tuple[int, int, int, int]:
    numbers = [
        _number(part, int, lambda value: 0 <= value < 2**31, "X,Y,W,H") for part in _four(text)
    ]
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _four(text: str) -> list[str]:
    parts = text.split(",")
    if len(parts) != 4:
        raise argparse.ArgumentTypeError(f"expected X,Y,W,H in pixels, got {text!r}")
    return parts


def _number(text: str, parse: Callable, accept: Callable, expected: str) -> Any:
    try:
        value = parse(text)
    except ValueError:
        value = None
    if value is None or not accept(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
