"""Picture files of which a few rows are read at a time: TIFF and ``.npy``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sad_jax.model.arguments import describe, whole_numbers
from sad_jax.model.room import MAX_PIXELS, check_size
from sad_jax.storage import tiff
from sad_jax.storage.pictures import check_image, explained, read_image
from sad_jax.storage.pixels import finish


class PictureFile:
    """An open picture file, of which rows are read as they are needed.

    Attributes:
      path: of the file.
      shape: (H, W, C) of the picture that ``read_image`` gives.
    """

    def __init__(self, path: str | os.PathLike, max_pixels: int):
        """See ``open_image``."""
        self.path, self._limit = Path(path), max_pixels
        with self.path.open("rb") as stream:
            self._is_tiff = tiff.MAGIC.match(stream.read(4)) is not None
        self._array: np.ndarray | None = None
        if not self._is_tiff:
            if self.path.suffix.lower() == ".npy":
                with explained(path, max_pixels):
                    array = np.load(path, mmap_mode="r", allow_pickle=False)
                if array.ndim not in (2, 3) or not array.size:
                    raise ValueError(f"expected a picture, got shape {array.shape}: {path}")
                self._array = np.atleast_3d(array)
            else:
                self._array = read_image(path, max_pixels=max_pixels)
        height, first = self._read(None)
        self.shape: tuple[int, int, int] = (height, first.shape[1], first.shape[2])

    def rows(self, first: int, end: int) -> Float[np.ndarray, "h W C"]:
        """The rows from ``first`` to before ``end``, as ``read_image`` gives them.

        Raises:
          ValueError: rows that the picture does not have, more than ``max_pixels``, or values that
            ``read_image`` refuses.
        """
        numbers, height = whole_numbers([first, end]), self.shape[0]
        if numbers is None or not 0 <= numbers[0] < numbers[1] <= height:
            got = f"{describe(first)} to {describe(end)}"
            raise ValueError(f"expected rows within 0 to {height}, got {got}: {self.path}")
        return self._read((numbers[0], numbers[1]))[1]

    def _read(self, rows: tuple[int, int] | None) -> tuple[int, np.ndarray]:
        """The height, and some rows; None stands for the first one."""
        first, end = rows or (0, 1)
        with explained(self.path, self._limit):
            if self._array is None:
                with self.path.open("rb") as stream:
                    height, pixels = tiff.read_rows(stream, rows, self._limit)
                values = finish(pixels)[0]
            else:
                height, width, channels = self._array.shape
                check_size(width, end - first, channels, self._limit)
                values = np.asarray(self._array[first:end])
        try:
            return height, check_image(values)
        except ValueError as error:
            raise ValueError(f"{error}: {self.path}") from None


def open_image(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> PictureFile:
    """Opens a picture file to read a few rows at a time.

    Of a TIFF, which may be a BigTIFF, only the strips or tiles of these rows are decoded, and of a
    ``.npy`` only they are read; of other formats the whole picture is held.

    Args:
      path: of the file.
      max_pixels: refuses to read more at once, as in ``read_image``.

    Returns:
      A ``PictureFile`` with ``shape`` and ``rows(first, end)``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no whole picture, or a TIFF that is turned.

    Examples:
      >>> import numpy as np, os, sad_jax as sad, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "a.tif")
      >>> sad.write_image(path, np.linspace(0, 1, 90).reshape(6, 5, 3), bits=16)
      >>> file = sad.open_image(path)
      >>> file.shape, file.rows(2, 4).shape
      ((6, 5, 3), (2, 5, 3))
    """
    if Path(path).is_dir():
        raise ValueError(f"expected a picture, got a directory: {path}")
    if not Path(path).exists():
        raise FileNotFoundError(f"expected a picture, got no such file: {path}")
    if not os.path.getsize(path):
        raise ValueError(f"expected a picture, got an empty file: {path}")
    return PictureFile(path, max_pixels)
