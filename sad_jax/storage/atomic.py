"""Files that are read whole, and written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

DRAFT = ".sad-jax-{}.tmp"  # beside the file; of a killed process it stays until ``remove_drafts``
ABANDONED = 600.0  # seconds for which nobody has written to a draft


def read_bytes(path: str | os.PathLike, what: str) -> bytes:
    """Reads a file that must exist and hold something; ``what`` names it in the errors."""
    check_file(path, what)
    data = Path(path).read_bytes()
    if not data:  # of a pipe
        raise ValueError(f"expected {what}, got an empty file: {path}")
    return data


def check_file(path: str | os.PathLike, what: str) -> None:
    """Raises unless there is a file that holds something."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"expected {what}, got a directory: {path}")
    if not path.exists():
        raise FileNotFoundError(f"expected {what}, got no such file: {path}")
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"expected {what}, got an empty file: {path}")


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file whole or not at all, see ``writing``."""
    with writing(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream to a file that is written whole or not at all: ``with writing(path) as stream``.

    It goes beside the file's place first, and is moved onto it at the end, unless an exception came
    before. A file that is there is replaced by one of the same owner and permissions; of a link,
    the file that it names. What cannot be replaced (a device, a pipe, what a standard stream goes
    to) is written to at the end.

    Raises:
      ValueError: if a file cannot stand there, see ``check_place``.
      OSError: if the system refuses; it names the file.
    """
    check_place(path)
    foreign = None
    try:
        old = os.stat(path) if os.path.exists(path) else None
        replaced = old is None or _can_be_replaced(path, old)
        buffer = io.BytesIO()
        target = os.path.realpath(path)
        with _replacing(target, old) if replaced else contextlib.nullcontext(buffer) as stream:
            try:
                yield stream
            except OSError as error:
                foreign = error.filename and error  # of a file that the caller reads
                raise
        if old is not None and not replaced:
            _write_through(path, buffer.getvalue(), old)
    except OSError as error:
        if error is foreign:
            raise
        raise _naming(error, path) from error


def check_place(path: str | os.PathLike) -> None:
    """Raises where no file can be written, so that work can be refused before it is done.

    Raises:
      ValueError: a directory, a name that is too long for the file system, a read-only file or
        folder, no folder.
    """
    if os.path.isdir(path):
        raise ValueError(f"expected a file to write, got a directory: {path}")
    folder, name = os.path.split(os.path.realpath(path))
    if _is_too_long(os.path.join(folder, name)) or _is_too_long(_draft_in(folder)):
        size = len(os.fsencode(name))
        raise ValueError(f"expected a shorter name of a file, got one of {size} bytes: {path}")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise ValueError(f"expected a file to write, got a read-only one: {path}")
    if os.path.exists(path) and not _can_be_replaced(path, os.stat(path)):
        return
    if not os.path.isdir(folder):
        raise ValueError(f"expected a folder to write into, got no such folder: {folder}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"expected a folder to write into, got a read-only one: {folder}")


def remove_drafts(folder: str | os.PathLike) -> None:
    """Removes what killed processes have left half written in a folder, if nobody works on it."""
    for draft in Path(folder).glob(DRAFT.format("*")):
        with contextlib.suppress(OSError):
            if draft.stat().st_mtime < time.time() - ABANDONED:
                draft.unlink()


def _is_too_long(path: str) -> bool:
    """Whether the file system takes no such name, or the system no such path."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _draft_in(folder: str) -> str:
    return os.path.join(folder, DRAFT.format(uuid.uuid4().hex[:12]))


def _can_be_replaced(path: str | os.PathLike, old: os.stat_result) -> bool:
    """Whether it is a regular file, under a name of its own, that no stream of ours writes to."""
    target = os.path.realpath(path)
    named = os.path.exists(target) and os.path.samestat(os.stat(target), old)
    return stat.S_ISREG(old.st_mode) and named and _stream_to(old) is None


def _stream_to(file: os.stat_result) -> int | None:
    """The descriptor of the standard stream that goes to a file, if one does."""
    for number in (1, 2):
        with contextlib.suppress(OSError):  # a stream may be closed
            if os.path.samestat(os.fstat(number), file):
                return number
    return None


def _write_through(path: str | os.PathLike, data: bytes, old: os.stat_result) -> None:
    number = _stream_to(old)
    for stream in (sys.stdout, sys.stderr):
        if number is not None and stream is not None:
            stream.flush()  # what was printed before stands before
    with open(path, "wb") if number is None else os.fdopen(os.dup(number), "wb") as stream:
        stream.write(data)


@contextlib.contextmanager
def _replacing(path: str, old: os.stat_result | None) -> Iterator[BinaryIO]:
    draft = _draft_in(os.path.dirname(path))
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode)  # never wider than it ends up
    try:
        with open(
            draft, "w+b", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, mode)
        ) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if old is not None:
            _copy_rights(path, draft, old)
        os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _copy_rights(path: str, draft: str, old: os.stat_result) -> None:
    """Gives the draft the owner, permissions and access lists of the file that it replaces."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):  # only root may give files away
            os.chown(draft, old.st_uid, old.st_gid)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):  # not every file system has them
            for name in os.listxattr(path):
                os.setxattr(draft, name, os.getxattr(path, name))
    os.chmod(draft, stat.S_IMODE(old.st_mode))


def _naming(error: OSError, path: str | os.PathLike) -> OSError:
    """The same error, of the file that was to be written instead of its draft."""
    if error.errno is None:
        return OSError(f"{error}: {path}")
    return type(error)(error.errno, error.strerror, str(path))
