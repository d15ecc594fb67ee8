"""A folder of photographs of ``sad-jax fit``: each in turn, past bad ones, then a table."""

from __future__ import annotations

import argparse
import tempfile
import unicodedata
from pathlib import Path

from sad_jax.commands import BAD_INPUT, OK, complain, tell
from sad_jax.commands.done import find_done, mark_done
from sad_jax.commands.photo import checkpoint_path, fit_photo, written_paths
from sad_jax.commands.report import STDOUT, Figures, table, write_json
from sad_jax.commands.runtime import Programs, output_path


def fit_folder(args: argparse.Namespace) -> int:
    """Every photograph of a folder; what is done is skipped, what is bad is reported and left out.

    A photograph is done when its figures, ``NAME.json``, are there and are those of the same
    picture and settings; they are written last.
    """
    photos = _photos(args)
    _check_names(args, photos)
    programs = Programs()
    rows: dict[str, Figures] = {}
    failed = interrupted = False
    for photo in photos:
        try:
            args.interrupts.check()
            figures = find_done(args, photo)
            if figures is None:
                figures, interrupted = fit_photo(args, photo)
                if interrupted:
                    break
                mark_done(args, photo, figures)
                checkpoint_path(args, photo).unlink(missing_ok=True)  # all is stored
                programs.used((figures["height"], figures["width"], figures["sites"]))
            rows[photo.name] = figures
        except KeyboardInterrupt:
            interrupted = True
            break
        except Exception as error:  # whatever one picture does, the others are fitted
            rows[photo.name] = {"error": f"{error}"}
            failed = True
            complain(f"error: {photo}: {error}")
        args.interrupts.hold()  # the rows so far are for the table
    write_json(args.json, rows)
    tell(table(rows), args.words)
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


def _check_names(args: argparse.Namespace, photos: list[Path]) -> None:
    """Raises where two photographs, or one and ``--json``, would write the same file."""
    plain = _plain_name if _ignores_case(output_path(Path(args.out) / "name").parent) else str
    writer = {} if args.json in (None, STDOUT) else {plain(Path(args.json).absolute()): "--json"}
    for photo in photos:
        for path in written_paths(args, photo):
            other = writer.setdefault(plain(path.absolute()), photo.name)
            if other != photo.name:
                raise ValueError(
                    "expected pictures whose files get names of their own, "
                    f"got {other} and {photo.name}, which both write {path}"
                )


def _plain_name(path: Path) -> str:
    """What a file system that ignores case, and how accents are coded, takes for the same name."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _ignores_case(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(prefix=".sad-jax-", dir=folder) as file:
        path = Path(file.name)
        return path.with_name(path.name.upper()).exists()
