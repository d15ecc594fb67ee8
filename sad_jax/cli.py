"""The command line: runs a command of ``sad_jax.commands``; exit codes and their one line.

JAX is imported by the commands, not here, so that ``--help`` and wrong arguments answer at once.
"""

from __future__ import annotations

import sys

from sad_jax.commands import BAD_INPUT, complain, tell, warnings_in_one_line
from sad_jax.commands.interrupts import Interrupts
from sad_jax.commands.report import STDOUT


def main(argv: list[str] | None = None) -> int:
    """Runs ``sad-jax``.

    Args:
      argv: the arguments. By default those of the process, which is then taken to be ``sad-jax``
        itself: Ctrl-C and SIGTERM end it where there is nothing to keep.

    Returns:
      The exit code: 0, 2 for bad input (one line on stderr says what was expected), 130 if
      interrupted by Ctrl-C, 143 by SIGTERM.

    Examples:
      >>> from sad_jax.cli import main
      >>> main(["convert", "nowhere.sad", "a.txt"])
      2
    """
    with Interrupts(program=argv is None) as interrupts, warnings_in_one_line():
        try:
            try:
                code = _run(sys.argv[1:] if argv is None else argv, interrupts)
            finally:
                tell(end="")  # what argparse has written, too, may find nobody who reads it
            interrupts.check()
            return code
        except KeyboardInterrupt:
            complain(interrupts.message())
            return interrupts.code
        except (ValueError, OSError, NotImplementedError, MemoryError) as error:
            complain(f"error: {error or 'expected more free memory, got none'}")
            return BAD_INPUT


def _run(argv: list[str], interrupts: Interrupts) -> int:
    """Runs the command that the arguments name."""
    from sad_jax.commands.arguments import make_parser

    args = make_parser().parse_args(argv)
    args.argv, args.interrupts = argv, interrupts
    args.words = sys.stderr if getattr(args, "json", None) == STDOUT else sys.stdout
    return args.run(args)
