"""Which photographs of a folder are done: those whose ``NAME.json`` is of this very fit."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from sad_jax.commands import complain
from sad_jax.commands.photo import fit_config, output_of
from sad_jax.commands.report import Figures, is_row, write_json

FIT = "fit"  # where a ``NAME.json`` says of which fit it is


def find_done(args: argparse.Namespace, photo: Path) -> Figures | None:
    """The figures of a photograph that is done, or None if it is to be fitted.

    With ``--force`` nothing is done yet, but for what an interrupted run with it has done.

    Raises:
      ValueError: results of another picture or other settings, without ``--force``.
    """
    path = output_of(args, photo, ".json")
    if not path.exists() or (args.force and not args.resume):
        return None
    figures = _read(path)
    if figures is None:
        complain(f"warning: expected figures of a fit, got something else, now replaced: {path}")
        return None
    found, expected = figures.pop(FIT), _identity(args, photo)
    if found == expected:
        return figures if output_of(args, photo, ".sad").exists() else None
    if args.force:
        return None
    names = [name for name in expected if found.get(name) != expected[name]] or ["version"]
    raise ValueError(
        f"expected results of the same picture and settings, got another {', '.join(names)} "
        f"(--force fits again): {path}"
    )


def mark_done(args: argparse.Namespace, photo: Path, figures: Figures) -> None:
    """Writes the figures of a photograph, and of which fit they are."""
    path = output_of(args, photo, ".json")
    write_json(path, figures | {FIT: _identity(args, photo)})


def _read(path: Path) -> dict[str, Any] | None:
    """What ``mark_done`` wrote, or None if the file is another's or broken."""
    try:
        figures = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        return None
    known = isinstance(figures, dict) and isinstance(figures.get(FIT), dict) and is_row(figures)
    return figures if known else None


def _identity(args: argparse.Namespace, photo: Path) -> dict[str, Any]:
    """All that the result depends on, by name."""
    config = fit_config(args)
    whole = dataclasses.replace(config, recipe=config.constants)
    return {"picture": _digest(photo), "seed": args.seed, **json.loads(whole.to_json())}


def _digest(photo: Path) -> str:
    """A hash of a file's bytes, or of the files of a zarr array with their names."""
    if photo.is_dir():
        files = sorted(path for path in photo.rglob("*") if path.is_file())
        told = [f"{path.relative_to(photo).as_posix()} {_digest(path)}" for path in files]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()
    with photo.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
