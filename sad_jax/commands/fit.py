"""``sad-jax fit``: a photograph, or a folder of them, to files of sites and their pictures."""

from __future__ import annotations

import argparse
import shlex

from sad_jax.commands import OK
from sad_jax.commands.folder import fit_folder
from sad_jax.commands.photo import checkpoint_path, fit_photo
from sad_jax.commands.report import write_json
from sad_jax.commands.runtime import is_folder


def run_fit(args: argparse.Namespace) -> int:
    """``sad-jax fit``; raises KeyboardInterrupt when Ctrl-C has ended it and all is written."""
    args.interrupts.message = lambda: _interrupted(args)
    if is_folder(args.photo):
        return fit_folder(args)
    for name, value in (("--workers", args.workers), ("--cluster", args.cluster)):
        if value is not None:
            raise ValueError(f"expected a folder with {name}, got {args.photo}")
    figures, interrupted = fit_photo(args, args.photo)
    write_json(args.json, figures)
    if interrupted:
        raise KeyboardInterrupt
    checkpoint_path(args, args.photo).unlink(missing_ok=True)  # all is stored
    return OK


def _interrupted(args: argparse.Namespace) -> str:
    """The last line of an interrupted fit: the arguments again, if there is what to go on from."""
    if not is_folder(args.photo) and not checkpoint_path(args, args.photo).exists():
        return args.interrupts.word
    words = [word for word in args.argv if word != "--resume"]
    again = shlex.join(["sad-jax", *words, "--resume"])
    return f"{args.interrupts.word}; go on with: {again}"
