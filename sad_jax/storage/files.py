"""Sites files by suffix: ``.sad``, and ``.txt`` and ``.json`` of the official programs."""

from __future__ import annotations

import os
from pathlib import Path

from sad_jax.model.arguments import describe
from sad_jax.model.canvas import Canvas
from sad_jax.model.room import MAX_PIXELS
from sad_jax.model.sites import Sites
from sad_jax.storage import official, sad
from sad_jax.storage.atomic import read_bytes, write_bytes

SUFFIXES = (".sad", ".txt", ".json")


def save_official(path: str | os.PathLike, sites: Sites, canvas: Canvas | tuple[int, int]) -> None:
    """Writes sites of three channels to a ``.txt`` or ``.json`` file, whole or not at all."""
    form = official.format_txt if check_suffix(path) == ".txt" else official.format_json
    write_bytes(path, form(sites, Canvas.of(canvas)).encode())


def load(path: str | os.PathLike, *, max_pixels: int | None = MAX_PIXELS) -> tuple[Sites, Canvas]:
    """Reads a file of sites; the suffix says in which form.

    Args:
      path: ending in ``.sad``, ``.txt`` or ``.json``.
      max_pixels: refuses a larger canvas, which a few bytes can promise and no memory could draw; a
        pixel of more than 4 channels counts as several. None takes any.

    Returns:
      The sites, and the canvas: (H, W), K and cell size.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for another suffix, if it is not a whole, unaltered file of its form, or above
        ``max_pixels``.
    """
    suffix = check_suffix(path)
    data = read_bytes(path, "a file of sites")
    try:
        return parse(data, suffix, max_pixels=max_pixels)
    except ValueError as error:
        raise ValueError(f"{error}: {path}") from error


def parse(data: bytes, suffix: str, *, max_pixels: int | None) -> tuple[Sites, Canvas]:
    """``load`` of the bytes of a file with such a suffix."""
    if suffix == ".sad":
        return sad.decode(data, max_pixels=max_pixels)
    read = official.parse_txt if suffix == ".txt" else official.parse_json
    return read(_text(data), max_pixels=max_pixels)


def check_suffix(path: str | os.PathLike) -> str:
    """The suffix of a file of sites, in lower case; ValueError for any other, or no path."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"expected the path of a file, got {describe(path)}")
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"expected a file ending in {', '.join(SUFFIXES)}, got {str(path)!r}")
    return suffix


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("expected a text file of sites, got bytes that are no text") from None
