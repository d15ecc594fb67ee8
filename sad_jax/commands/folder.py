"""A folder of photographs of ``sad-jax fit``: each in turn, past bad ones, then a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sad_jax.commands import BAD_INPUT, OK, complain
from sad_jax.commands.photo import checkpoint_path, fit_photo
from sad_jax.commands.report import Figures, print_table, write_json


def fit_folder(args: argparse.Namespace) -> int:
    """Every photograph of a folder; what is done is skipped, what is bad is reported and left out.

    A photograph is done when its figures, ``NAME.json``, are there; they are written last.
    """
    photos = _photos(args)
    rows: dict[str, Figures] = {}
    failed = interrupted = False
    for photo in photos:
        done = Path(args.out) / f"{photo.stem}.json"
        try:
            args.interrupts.check()
            _refuse_twin(photo, rows)
            if not done.exists():
                figures, interrupted = fit_photo(args, photo)
                if interrupted:
                    break
                write_json(done, figures)
                checkpoint_path(args, photo).unlink(missing_ok=True)  # all is stored
            rows[photo.name] = json.loads(done.read_text())
        except KeyboardInterrupt:
            interrupted = True
            break
        except Exception as error:  # whatever one picture does, the others are fitted
            rows[photo.name] = {"error": f"{error}"}
            failed = True
            complain(f"error: {photo}: {error}")
        args.interrupts.hold()  # the rows so far are for the table
    write_json(args.json, rows)
    print_table(rows)
    if interrupted:
        raise KeyboardInterrupt
    return BAD_INPUT if failed else OK


def _photos(args: argparse.Namespace) -> list[Path]:
    """The pictures of the folder by name; raises where they cannot be fitted as a folder."""
    from sad_jax.storage.pictures import is_picture

    folder, out = Path(args.photo), Path(args.out)
    photos = sorted(path for path in folder.iterdir() if is_picture(path))
    if not photos:
        raise ValueError(f"expected a folder that holds pictures, got none in {folder}")
    if args.mask is not None:
        raise ValueError(f"expected one picture with --mask, got a folder: {folder}")
    if out.exists() and out.samefile(folder):
        raise ValueError(f"expected an --out folder other than that of the pictures, got {out}")
    return photos


def _refuse_twin(photo: Path, rows: dict[str, Figures]) -> None:
    """Raises where another photograph has the same name but for its suffix: so do their files."""
    for name in rows:
        if Path(name).stem == photo.stem:
            raise ValueError(f"expected names that differ before the dot, got also {name}")
