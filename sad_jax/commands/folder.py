"""A folder of photographs of ``sad-jax fit``: here or by workers, past bad ones, then a table."""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import unicodedata
from collections.abc import Generator
from pathlib import Path
from typing import Any

from sad_jax.commands import BAD_INPUT, OK, complain, tell, warnings_in_one_line
from sad_jax.commands.done import find_done, mark_done
from sad_jax.commands.interrupts import Interrupts
from sad_jax.commands.photo import checkpoint_path, fit_photo, written_paths
from sad_jax.commands.report import STDOUT, Figures, table, write_json
from sad_jax.commands.runtime import Programs, output_path

OWN = ("interrupts", "words", "run", "argv")  # arguments that stay with this process
Results = Generator[tuple[Path, Any], None, None]  # figures or exceptions
PROGRAMS = Programs()  # of this process, whoever asks it to fit


def fit_folder(args: argparse.Namespace) -> int:
    """Every photograph of a folder; what is done is skipped, what is bad is reported and left out.

    A photograph is done when its figures, ``NAME.json``, are there and are those of the same
    picture and settings; they are written last.
    """
    photos = _photos(args)
    _check_names(args, photos)
    spread = args.workers is not None or args.cluster is not None
    results = _by_workers(args, photos) if spread else _here(args, photos)
    rows: dict[str, Figures] = {}
    failed = interrupted = False
    with contextlib.closing(results):
        try:
            for photo, figures in results:
                if isinstance(figures, Exception):
                    complain(f"error: {photo}: {figures}")
                    failed, figures = True, {"error": f"{figures}"}
                rows[photo.name] = figures
                args.interrupts.hold()  # the rows so far are for the table
                args.interrupts.check()
        except KeyboardInterrupt:
            interrupted = True
    rows = {photo.name: rows[photo.name] for photo in photos if photo.name in rows}
    write_json(args.json, rows)
    tell(table(rows), args.words)
    if interrupted:
        raise KeyboardInterrupt
    return BAD_INPUT if failed else OK


def _here(args: argparse.Namespace, photos: list[Path]) -> Results:
    """Every photograph, fitted by this process, with its figures or exception."""
    for photo in photos:
        try:
            yield photo, _fit_one(args, photo)
        except Exception as error:  # whatever one picture does, the others are fitted
            yield photo, error


def _by_workers(args: argparse.Namespace, photos: list[Path]) -> Results:
    """The same by other processes, here or on a cluster that sees the same folders."""
    from sad_jax.fitting.workers import LocalWorkers, run_jobs

    args.interrupts.hold()
    options = {name: value for name, value in vars(args).items() if name not in OWN}
    options["out"] = str(Path(args.out).absolute())
    jobs = [(options, photo.absolute()) for photo in photos]
    with LocalWorkers(args.workers) if args.workers else _cluster(args.cluster) as workers:
        try:
            results = run_jobs(workers, _fit_apart, jobs, check=args.interrupts.check)
            for number, result in results:
                if isinstance(result, tuple):
                    result, said = result
                    tell(said, args.words, end="")
                yield photos[number], result
        except KeyboardInterrupt:
            if args.workers:
                workers.terminate()
            raise


def _cluster(address: str):
    """A client of a dask scheduler, whose workers import sad_jax and see the same folders.

    ``address``: its own, or the file into which it writes it, for which the client waits.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "expected dask.distributed for --cluster, got none: pip install 'sad-jax[cluster]'"
        ) from None
    return Client(scheduler_file=address) if address.endswith(".json") else Client(address)


def _fit_apart(attempt: int, options: dict[str, Any], photo: Path) -> tuple[Figures, str]:
    """One photograph, fitted by a worker; its figures, and what is to be said of it."""
    args = argparse.Namespace(**options, words=io.StringIO())
    args.resume = args.resume or attempt > 0  # what a lost worker had done of it is there
    with Interrupts(program=False) as args.interrupts, warnings_in_one_line():
        figures = _fit_one(args, photo)
    return figures, args.words.getvalue()


def _fit_one(args: argparse.Namespace, photo: Path) -> Figures:
    """The figures of a photograph that is done, or that is fitted now and all of it stored."""
    args.interrupts.check()
    figures = find_done(args, photo)
    if figures is None:
        figures, interrupted = fit_photo(args, photo)
        if interrupted:
            raise KeyboardInterrupt
        mark_done(args, photo, figures)
        checkpoint_path(args, photo).unlink(missing_ok=True)  # all is stored
        PROGRAMS.used((figures["height"], figures["width"], figures["sites"]))
    return figures


def _photos(args: argparse.Namespace) -> list[Path]:
    """The pictures of the folder by name; raises where they cannot be fitted as a folder."""
    from sad_jax.storage.pictures import is_picture

    folder, out = Path(args.photo), Path(args.out)
    photos = sorted(path for path in folder.iterdir() if is_picture(path))
    if not photos:
        raise ValueError(f"expected a folder that holds pictures, got none in {folder}")
    if args.workers is not None and args.workers > len(photos):
        args.workers = len(photos)
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
