"""The commands of ``sad-jax``, their exit codes, and the line that says what is wrong.

The modules here import only the standard library at their top, and what does so, too: JAX, NumPy
and the rest of the package come in when a command runs, so that help and wrong arguments are
answered at once.
"""

import sys

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130


def complain(message: str) -> None:
    """One line on stderr."""
    print("sad-jax: " + " ".join(message.split()), file=sys.stderr)
