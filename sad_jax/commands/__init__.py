"""The commands of ``sad-jax``, their exit codes, and what they say.

The modules here import only the standard library at their top, and what does so, too: JAX, NumPy
and the rest of the package come in when a command runs, so that help and wrong arguments are
answered at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

OK, BAD_INPUT = 0, 2


def complain(message: str) -> None:
    """One line on stderr."""
    if sys.stderr is not None:
        tell("sad-jax: " + " ".join(message.split()), sys.stderr)


def tell(text: str = "", stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Text on a stream, by default stdout; where nobody reads it any more, work goes on without.

    Raises:
      OSError: a stream that cannot be written for another reason, such as a full disk.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:  # closed before we began
        return
    coding = getattr(stream, "encoding", None) or "utf-8"
    text = text.encode(coding, "backslashreplace").decode(coding)  # names of files may be anything
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # what is left to write would fail again at the end
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Inside it, a warning is one line on stderr, each time; ``python -W`` has the last word."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: complain(f"warning: {message}")
        yield
