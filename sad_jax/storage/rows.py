"""Picture files of which some rows are read without the rest: TIFF, ``.npy`` and zarr.

A reader holds the path alone and opens the file anew for each part, so that nothing of it stays in
memory, and so that it can be sent to another process.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from sad_jax.storage import tiff
from sad_jax.storage.pixels import finish

_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")  # of versions 3 and 2
NUMPY = b"\x93NUMPY"
_NUMPY_HEADERS = {  # version 3 is for fields with names, which no picture has
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Layout(NamedTuple):
    """What a file's header says.

    ``height``, ``width``; ``samples``: of a pixel, as stored; ``together``: rows that are decoded
    at once; ``trouble``: why rows of the file are not those of the picture, if they are not.
    """

    height: int
    width: int
    samples: int
    together: int
    trouble: str = ""


class RowReader(Protocol):
    """How rows of one format are read."""

    path: Path

    def layout(self) -> Layout:
        """What the header says; raises where there is no whole picture."""

    def read(self, first: int, end: int) -> tuple[np.ndarray, list[str]]:
        """Rows [h, W, C] from ``first`` to before ``end``, and what is in the file beside them.

        Values are as ``check_image`` takes them. Of a file whose rows are not the picture's, only
        all of them can be read.
        """


def row_reader(path: Path) -> RowReader | None:
    """The reader of a file, or None where its format is only read as a whole."""
    if is_zarr(path):
        return ZarrRows(path)
    with path.open("rb") as stream:
        start = stream.read(len(NUMPY))
    if tiff.MAGIC.match(start):
        return TiffRows(path)
    return NumpyRows(path) if start == NUMPY else None


def is_zarr(path: Path) -> bool:
    """Whether it is the folder of a zarr array or group."""
    return path.is_dir() and any((path / name).exists() for name in _ZARR_FILES)


class TiffRows:
    """Of a TIFF or BigTIFF; only the strips or tiles of the rows are decoded."""

    def __init__(self, path: Path):
        self.path = path

    def layout(self) -> Layout:
        with tiff.opened(self.path) as (page, _, _):
            _, _, height, width, _ = page.shaped
            turned = tiff.orientation(page)
            trouble = (
                "" if turned == 1 else f"one turned by {turned}, whose rows are not in its strips"
            )
            together = height if trouble else tiff.segment_rows(page)
            return Layout(height, width, page.samplesperpixel, together, trouble)

    def read(self, first: int, end: int) -> tuple[np.ndarray, list[str]]:
        return finish(tiff.read_rows(self.path, first, end))


class NumpyRows:
    """Of a ``.npy``."""

    def __init__(self, path: Path):
        self.path = path

    def layout(self) -> Layout:
        with self.path.open("rb") as stream:  # what it promises, whether or not that is there
            read_header = _NUMPY_HEADERS.get(np.lib.format.read_magic(stream))
            shape = read_header(stream)[0] if read_header else self._array().shape
        return _layout_of(shape, 1)

    def read(self, first: int, end: int) -> tuple[np.ndarray, list[str]]:
        return _rows_of(self._array(), first, end), []

    def _array(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


class ZarrRows:
    """Of a zarr array [H, W] or [H, W, C]; only the chunks of the rows are decoded."""

    def __init__(self, path: Path):
        self.path = path

    def layout(self) -> Layout:
        array = self._array()
        chunks = getattr(array, "shards", None) or array.chunks
        return _layout_of(array.shape, chunks[0] if chunks else 1)

    def read(self, first: int, end: int) -> tuple[np.ndarray, list[str]]:
        return _rows_of(self._array(), first, end), []

    def _array(self) -> Any:
        try:
            zarr = importlib.import_module("zarr")
        except ImportError:
            raise ValueError("a zarr, for which: pip install 'sad-jax[zarr]'") from None
        found = zarr.open(self.path, mode="r")
        if not isinstance(found, zarr.Array):
            names = ", ".join(sorted(found.array_keys())) or "none"
            raise ValueError(f"a zarr group, of whose arrays ({names}) one must be named")
        return found


def _layout_of(shape: tuple[int, ...], together: int) -> Layout:
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"shape {shape}")
    height, width = shape[:2]
    return Layout(height, width, shape[2] if len(shape) == 3 else 1, min(together, height))


def _rows_of(array: Any, first: int, end: int) -> np.ndarray:
    return np.atleast_3d(np.asarray(array[first:end]))
