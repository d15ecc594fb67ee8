"""The command line: runs a command of ``sad_jax.commands``; exit codes and their one line.

JAX is imported by the commands, not here, so that ``--help`` and wrong arguments answer at once.
"""

from __future__ import annotations

import sys

from sad_jax.commands import BAD_INPUT, INTERRUPTED, complain
from sad_jax.commands.interrupts import Interrupts


def main(argv: list[str] | None = None) -> int:
    """Runs ``sad-jax``.

    Args:
      argv: the arguments. By default those of the process, which is then taken to be ``sad-jax``
        itself: Ctrl-C ends it where there is nothing to keep.

    Returns:
      The exit code: 0, 2 for bad input (one line on stderr says what was expected), 130 if
      interrupted.

    Example:
      >>> from sad_jax.cli import main
      >>> main(["convert", "nowhere.sad", "a.txt"])
      2
    """
    with Interrupts(program=argv is None) as interrupts:
        try:
            from sad_jax.commands.arguments import make_parser

            args = make_parser().parse_args(argv)
            args.argv = sys.argv[1:] if argv is None else argv
            args.interrupts = interrupts
            code = args.run(args)
            interrupts.check()
            return code
        except KeyboardInterrupt:
            complain(interrupts.message())
            return INTERRUPTED
        except (ValueError, OSError, NotImplementedError) as error:
            complain(f"error: {error}")
            return BAD_INPUT
