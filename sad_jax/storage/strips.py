"""Picture files of which a few rows are read at a time: TIFF, ``.npy`` and zarr."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sad_jax.model.arguments import describe, whole_numbers
from sad_jax.model.room import MAX_PIXELS, check_size
from sad_jax.storage.pictures import explained, read_image, read_rows, reader_of


class PictureFile:
    """An open picture file, of which rows are read as they are needed.

    Attributes:
      path: of the file.
      shape: (H, W, C) of the picture that ``read_image`` gives.
    """

    def __init__(self, path: str | os.PathLike, max_pixels: int):
        """See ``open_image``."""
        self.path, self._limit = Path(path), max_pixels
        self._reader = reader_of(path)
        if self._reader is None:
            self._image = read_image(path, max_pixels=max_pixels)
            self.shape: tuple[int, int, int] = self._image.shape
            return
        with explained(path, max_pixels):
            layout = self._reader.layout()
            if layout.trouble:
                raise ValueError(layout.trouble)
        _, width, channels = self._read(0, 1).shape
        self.shape = layout.height, width, channels

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
        first, end = numbers
        with explained(self.path, self._limit):
            check_size(self.shape[1], end - first, self.shape[2], self._limit)
        return self._read(first, end)

    def read(self) -> Float[np.ndarray, "H W C"]:
        """The whole picture.

        Raises:
          ValueError: more than ``max_pixels``, or values that ``read_image`` refuses.
        """
        if self._reader is None:
            return self._image
        return read_image(self.path, max_pixels=self._limit)

    def _read(self, first: int, end: int) -> np.ndarray:
        if self._reader is None:
            return self._image[first:end]
        return read_rows(self._reader, first, end, self._limit)[0]


def open_image(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> PictureFile:
    """Opens a picture file to read a few rows at a time.

    Of a TIFF, which may be a BigTIFF, only the strips or tiles of these rows are decoded, of a zarr
    array (``pip install 'sad-jax[zarr]'``) only their chunks; of a ``.npy`` only they are read. Of
    other formats the whole picture is held.

    Args:
      path: of the file; of a zarr array its folder.
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
    return PictureFile(path, max_pixels)
