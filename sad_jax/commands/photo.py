"""One photograph of ``sad-jax fit``: its file of sites, its pictures, its figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sad_jax.commands import tell
from sad_jax.commands.bar import Bar, film_ending
from sad_jax.commands.render import draw
from sad_jax.commands.report import STDOUT, Figures, decibels, finite, quality, rates, versions
from sad_jax.commands.runtime import is_folder, output_path, start_jax

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from sad_jax.fitting.config import FitConfig
    from sad_jax.fitting.result import FitResult

OUTPUTS = (".sad", ".png", "_diagram.png", "_tau.png", "_error.png")


def fit_photo(args: argparse.Namespace, source: str | Path) -> tuple[Figures, bool]:
    """Fits one photograph and writes all but its JSON.

    Returns:
      Its figures, and whether Ctrl-C ended the fit.
    """
    from sad_jax.storage.pictures import read_image

    config = fit_config(args)
    photo = read_image(source, max_pixels=args.max_pixels)
    height, width, _ = photo.shape
    mask = None if args.mask is None else _read_mask(args.mask, (height, width))
    config.budget((height, width))  # refuses more sites than pixels
    _check_outputs(args, source)

    jax = start_jax()
    from sad_jax.fitting.driver import fit

    with Bar(args.interrupts, film=args.video) as bar:
        result = fit(
            photo,
            config,
            key=jax.random.key(args.seed),
            mask=mask,
            progress=bar,
            checkpoint=checkpoint_path(args, source),
            checkpoint_seconds=args.checkpoint_seconds,
            resume=args.resume,
        )
    args.interrupts.hold()
    file = output_of(args, source, ".sad")
    figures = _write_results(file, result, photo, bar.frames) | {
        "float_psnr": finite(result.float_psnr),
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "steps": result.steps,
        "width": width,
        "height": height,
        "seed": args.seed,
        "recipe": args.recipe,
        "implementation": result.implementation,
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
    }
    tell(
        f"{file}: {decibels(figures)}{_before_rounding(figures)}, {figures['sites']} sites, "
        f"{figures['bytes']} bytes = {figures['bpp']:.3f} bpp, {result.steps} steps in "
        f"{result.seconds:.1f} s and {result.compile_seconds:.1f} s of compilation",
        args.words,
    )
    return figures, result.interrupted


def _before_rounding(figures: Figures) -> str:
    """The PSNR of the sites in float32, where the file's is another."""
    before = figures["float_psnr"]
    if before is None or figures["psnr"] is None or abs(before - figures["psnr"]) < 0.005:
        return ""
    return f" ({before:.2f} before rounding)"


def checkpoint_path(args: argparse.Namespace, source: str | Path) -> Path:
    """Where a fit of a photograph keeps its state until all of its results are written."""
    return output_of(args, source, ".ckpt")


def written_paths(args: argparse.Namespace, source: str | Path) -> list[Path]:
    """Every file that a fit of a photograph may write; of one of a folder, its figures, too."""
    endings = [*OUTPUTS, ".ckpt"]
    endings += [film_ending()] * args.video + [".json"] * is_folder(args.photo)
    return [output_of(args, source, ending) for ending in endings]


def output_of(args: argparse.Namespace, source: str | Path, ending: str) -> Path:
    """The file with this ending that belongs to a photograph."""
    return Path(args.out) / f"{Path(source).stem}{ending}"


def _write_results(
    file: Path, result: FitResult, photo: np.ndarray, frames: list[Image.Image]
) -> Figures:
    """Writes the file and the pictures decoded from it; returns the file's figures."""
    from sad_jax import viz
    from sad_jax.lists.exact import find_candidates
    from sad_jax.storage.atomic import write_bytes
    from sad_jax.storage.files import load
    from sad_jax.storage.pictures import displayed, write_image

    write_bytes(file, result.data)
    sites, canvas = load(file)
    lists = find_candidates(sites, canvas)
    image = draw(sites, lists, canvas.shape)
    stem = file.with_suffix("")
    write_image(f"{stem}.png", image if image.shape[2] <= 4 else displayed(image))
    values = result.value_range
    shown = sites.replace(color=values.to_unit(sites.color))
    write_image(f"{stem}_diagram.png", viz.diagram(shown, lists))
    write_image(f"{stem}_tau.png", viz.tau_map(sites, lists))
    seen = draw(sites, lists if result.supersampling == 1 else canvas, photo.shape[:2])
    write_image(f"{stem}_error.png", viz.error_map(values.to_unit(seen), values.to_unit(photo)))
    if frames:
        viz.write_film(f"{stem}{film_ending()}", frames)
    pixels = photo.shape[0] * photo.shape[1]
    return quality(seen, photo) | rates(file, sites.num_sites, pixels)


def fit_config(args: argparse.Namespace) -> FitConfig:
    """The settings that the arguments mean."""
    from sad_jax.fitting.config import FitConfig

    given = {
        "num_sites": args.sites,
        "bpp": args.bpp,
        "initial_sites": args.initial_sites,
        "recipe": args.recipe,
        "steps": args.steps,
        "seconds": args.seconds,
        "k": args.k,
        "cell": args.cell,
        "supersampling": args.supersampling,
        "implementation": args.implementation,
        "quality": args.quality,
        "file_bytes": args.bytes,
        "file_bpp": args.bpp_file,
        "file_psnr": args.psnr,
    }
    given["padded"] = is_folder(args.photo) and not args.video  # a film shows the whole frame
    return FitConfig(**{name: value for name, value in given.items() if value is not None})


def _read_mask(path: str, shape: tuple[int, int]) -> np.ndarray:
    """A mask as float32[H, W]: the brightness of a picture of the photograph's size."""
    from sad_jax.storage.pictures import displayed, read_image

    mask = displayed(read_image(path)).mean(axis=-1)
    if mask.shape != shape:
        raise ValueError(
            f"expected a mask of {shape[1]}x{shape[0]} pixels, "
            f"got {mask.shape[1]}x{mask.shape[0]}: {path}"
        )
    return mask


def _check_outputs(args: argparse.Namespace, photo: str | Path) -> None:
    """Finds what would make a fit fail at its end, before it starts."""
    from sad_jax.storage.atomic import remove_drafts

    sources = [path for path in (photo, args.mask) if path is not None]
    written = written_paths(args, photo)
    if any(_is_one_of(sources, path) for path in written):
        raise ValueError(f"expected another --out folder, got the one that holds {photo}")
    if args.json not in (None, STDOUT):
        json = Path(args.json)
        if json.absolute() in [path.absolute() for path in written] or _is_one_of(sources, json):
            raise ValueError(f"expected a file of its own for --json, got {json}")
        written.append(json)
    for path in written:
        output_path(path)
    remove_drafts(args.out)
    checkpoint = checkpoint_path(args, photo)
    if args.resume and not checkpoint.exists() and not is_folder(args.photo):
        raise ValueError(f"expected an interrupted fit to resume, got no such file: {checkpoint}")


def _is_one_of(sources: list[str | Path], path: Path) -> bool:
    return path.exists() and any(path.samefile(source) for source in sources)
