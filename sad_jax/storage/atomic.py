"""Files that are read whole, and written whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def read_bytes(path: str | os.PathLike, what: str) -> bytes:
    """Reads a file that must exist and hold something; ``what`` names it in the errors."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"expected {what}, got a directory: {path}")
    if not path.exists():
        raise FileNotFoundError(f"expected {what}, got no such file: {path}")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"expected {what}, got an empty file: {path}")
    return data


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file whole or not at all: beside its place first, then moved onto it."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"expected a file to write, got a directory: {path}")
    if path.is_relative_to("/dev") or (path.exists() and not path.is_file()):
        with path.open("ab") as stream:  # a device or a pipe: nothing to replace
            stream.write(data)
        return
    path = Path(os.path.realpath(path))
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
