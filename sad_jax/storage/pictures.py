"""Pictures: reading, checking and writing them."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from PIL import Image

from sad_jax.model.picture import as_floats
from sad_jax.model.room import MAX_PIXELS, TooLargeError, check_size
from sad_jax.storage.atomic import check_file, read_bytes, writing
from sad_jax.storage.bands import write_npy, write_png, write_tiff
from sad_jax.storage.reading import SUFFIXES, decode
from sad_jax.storage.rows import RowReader, is_zarr, row_reader

CLIPPED = 0.5 / 255  # beyond [0, 1], it rounds to another step of 8 bits
BAND = 2**23  # values that are read or written at once, about
LARGEST = 1e30  # of a float picture; float32 has room above it for sums
_BITS = {"PNG": (8, 16), "TIFF": (8, 16, 32), "npy": (32,)}  # that formats can hold; others 8
_ANY_CHANNELS = ("TIFF", "npy")
_TYPES = {8: "u1", 16: "<u2", 32: "<f4"}


def check_image(image: Shaped[ArrayLike, "H W *C"]) -> Float[np.ndarray, "H W C"]:
    """Checks a picture in memory and brings it to float32 with a channel axis.

    Args:
      image: [H, W] or [H, W, C] with C >= 1; float in any range, or bool or unsigned, whose
        largest value becomes 1.

    Returns:
      float32[H, W, C], the picture's own memory where nothing had to change.

    Raises:
      ValueError: for another number of axes, an empty picture, another type, NaN or infinite values
        or ones beyond 1e30.

    Examples:
      >>> import numpy as np
      >>> from sad_jax.storage.pictures import check_image
      >>> check_image(np.full((2, 3), 255, np.uint8)).tolist()
      [[[1.0], [1.0], [1.0]], [[1.0], [1.0], [1.0]]]
    """
    image = _as_float(image)
    if max(-image.min(), image.max()) > LARGEST:
        low, high = float(image.min()), float(image.max())
        raise ValueError(f"expected values within {LARGEST:g}, got {low:g} to {high:g}")
    return image


def read_image(
    path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS
) -> Float[np.ndarray, "H W C"]:
    """Reads a picture file with all its bits: PNG, JPEG, TIFF, WebP, ..., ``.npy``, a zarr array.

    Integers are divided by the largest number of their bits, floats stay as they are; alpha stays a
    channel and is straight; palettes, CMYK and CIE Lab become RGB; colours of an ICC profile become
    sRGB; a photograph is turned upright as its EXIF tag says. TIFF's signed integers are divided by
    the largest of their type and must not be negative.

    TIFF, ``.npy`` and zarr (an array [H, W] or [H, W, C], by ``pip install 'sad-jax[zarr]'``) are
    read a few rows at a time, so that there is little in memory beside the picture.

    Args:
      path: of the file; of a zarr array its folder.
      max_pixels: refuses a file whose header promises more, before it takes any memory; a pixel of
        more than 4 channels counts as several. The default, 2^27 = 134,217,728, is 2 GiB in
        float32 with 4 channels.

    Returns:
      float32[H, W, C] in [0, 1], but floats in the file's own range; C is 1 for gray, 2 for gray
      with alpha, 3 for RGB, 4 for RGBA, any number for ``.npy``, zarr, TIFF and PAM.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not a whole picture of at least 2 pixels a side and finite values, is of
        a kind that is not read exactly, or above ``max_pixels``.

    Warns:
      UserWarning: one line for what is in the file and not in the values, such as further frames
        or a profile that was not applied.

    Examples:
      >>> import numpy as np, os, tempfile
      >>> from sad_jax.storage.pictures import read_image, write_image
      >>> path = os.path.join(tempfile.mkdtemp(), "gray.png")
      >>> write_image(path, np.full((4, 6, 1), 0.2))
      >>> picture = read_image(path)
      >>> picture.shape, round(float(picture[0, 0, 0]), 6)
      ((4, 6, 1), 0.2)
    """
    reader = reader_of(path)
    if reader is None:
        with explained(path, max_pixels):
            image, notes = decode(read_bytes(path, "a picture"), max_pixels)
        image = _checked(image, path)
    else:
        image, notes = _read_by_rows(reader, max_pixels)
    if min(image.shape[:2]) < 2:
        height, width, _ = image.shape
        raise ValueError(f"expected at least 2 pixels a side, got {width}x{height}: {path}")
    for note in notes:
        warnings.warn(f"{note}: {path}", stacklevel=2)
    return image


def reader_of(path: str | os.PathLike) -> RowReader | None:
    """The reader of a picture's rows, or None where its format is only read as a whole.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is empty, or a directory, but for that of a zarr array.
    """
    path = Path(path)
    if not is_zarr(path):
        check_file(path, "a picture")
    return row_reader(path) if path.is_dir() or path.is_file() else None  # None for a pipe


def _read_by_rows(reader: RowReader, limit: int) -> tuple[np.ndarray, list[str]]:
    """The whole picture, of whose file no more than a band is held beside it."""
    with explained(reader.path, limit):
        layout = reader.layout()
        check_size(layout.width, layout.height, layout.samples, limit)
    height = max(1, BAND // (layout.width * layout.samples * layout.together)) * layout.together
    image, told = None, dict[str, None]()  # in their order
    for first in range(0, layout.height, height):
        end = min(first + height, layout.height)
        band, notes = read_rows(reader, first, end, limit)
        if end - first == layout.height:
            return band, notes
        if image is None:
            image = np.empty((layout.height, *band.shape[1:]), np.float32)
        image[first:end] = band
        told |= dict.fromkeys(notes)
    assert image is not None  # it has rows
    return image, list(told)


def read_rows(reader: RowReader, first: int, end: int, limit: int) -> tuple[np.ndarray, list[str]]:
    """Some rows as ``read_image`` gives them, and notes."""
    with explained(reader.path, limit):
        values, notes = reader.read(first, end)
    return _checked(values, reader.path), notes


def _checked(image: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """``check_image``, whose errors name the file."""
    try:
        return check_image(image)
    except ValueError as error:
        raise ValueError(f"{error}: {path}") from None


@contextlib.contextmanager
def explained(path: str | os.PathLike, max_pixels: int) -> Iterator[None]:
    """Whatever a decoder raises on bad bytes, as a ValueError of one line that names the file."""
    try:
        yield
    except TooLargeError as error:
        raise ValueError(f"{error}: {path}") from None
    except Image.DecompressionBombError as error:  # of a picture within a GIF or an icon
        raise ValueError(
            f"expected at most {max_pixels} pixels, got more within the file: {path}"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"expected a whole picture (PNG, JPEG, TIFF, npy, ...), got {reason}: {path}"
        ) from error


def is_picture(path: Path) -> bool:
    """Whether a file's suffix is one that ``read_image`` reads; hidden files are not pictures."""
    known = is_zarr(path) if path.is_dir() else path.suffix.lower() in SUFFIXES
    return known and path.exists() and not path.name.startswith(".")


def write_image(
    path: str | os.PathLike, image: Shaped[ArrayLike, "H W *C"], *, bits: int | None = None
) -> None:
    """Writes a picture, whole or not at all; the suffix says in which format.

    Values are clipped to [0, 1] and rounded to whole numbers of so many bits; ``.npy`` and a TIFF
    of 32 bits keep float32 as it is.

    Args:
      path: of the file.
      image: [H, W] or [H, W, C], float or unsigned; C from 1 to 4, any number for ``.npy`` and
        TIFF.
      bits: 8; or 16 for PNG and TIFF; or 32 for TIFF and ``.npy``. None takes 8, but 32 for
        ``.npy`` and a TIFF of more than 4 channels.

    Raises:
      ValueError: for a suffix that names no format, or a picture that the format cannot hold.

    Warns:
      UserWarning: where values are clipped by more than rounding.
    """
    image = _as_float(image)
    height, width, channels = image.shape
    rows = max(1, BAND // (width * channels))
    bands = (image[top : top + rows] for top in range(0, height, rows))
    write_bands(path, (height, width, channels), bands, bits=bits)


def write_bands(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    bands: Iterable[Float[np.ndarray, "h W C"]],
    *,
    bits: int | None = None,
) -> None:
    """``write_image`` of a picture that comes in bands of rows, from the top down.

    PNG, TIFF and ``.npy`` are written as the bands come; for other formats the picture is put
    together first.

    Args:
      path: of the file.
      shape: (H, W, C) of the picture.
      bands: float32[h, W, C] each, finite; none is asked for before the format is known to fit.
      bits: as in ``write_image``.

    Raises:
      ValueError: as ``write_image``.
    """
    form = Form.of(path, shape[2], bits)
    seen = [0.0, 1.0]

    def leveled() -> Iterator[np.ndarray]:
        for band in bands:
            seen[:] = min(seen[0], float(band.min())), max(seen[1], float(band.max()))
            yield to_levels(band, form.bits) if form.bits < 32 else band.astype("<f4", copy=False)

    with writing(path) as stream:
        if form.name == "npy":
            write_npy(stream, shape, leveled())
        elif form.name == "PNG":
            write_png(stream, shape, leveled())
        elif form.name == "TIFF":
            write_tiff(stream, shape, leveled(), np.dtype(_TYPES[form.bits]))
        else:
            _write_by_pillow(stream, form.name, np.concatenate(list(leveled())))
    if form.bits < 32:
        _tell_of_clipping(path, *seen)


class Form(NamedTuple):
    """How a picture is stored: in which format (Pillow's name, or "npy"), in how many bits."""

    name: str
    bits: int

    @classmethod
    def of(cls, path: str | os.PathLike, channels: int, bits: int | None = None) -> Form:
        """By the path's suffix; a ValueError where the format cannot hold such a picture."""
        suffix = Path(path).suffix.lower()
        name = "npy" if suffix == ".npy" else Image.registered_extensions().get(suffix, "")
        if name != "npy" and name not in Image.SAVE:
            raise ValueError(f"expected a picture's suffix such as .png, got {str(path)!r}")
        if channels > 4 and name not in _ANY_CHANNELS:
            raise ValueError(f"expected 1 to 4 channels (or .npy or .tif), got {channels}")
        can = _BITS.get(name, (8,))
        if bits is None:
            bits = can[-1] if channels > 4 else can[0]
        if bits not in can:
            allowed = " or ".join(map(str, can))
            raise ValueError(f"expected {allowed} bits for {name}, got {bits}")
        return cls(name, bits)

    @property
    def most_channels(self) -> int:
        """Of a picture that it can hold."""
        return 2**16 - 1 if self.name in _ANY_CHANNELS else 4

    @property
    def streams(self) -> bool:
        """Whether it is written without the whole picture in memory."""
        return self.name in _BITS


def _write_by_pillow(stream: BinaryIO, form: str, levels: np.ndarray) -> None:
    picture = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=form)
    except OSError as error:
        raise ValueError(f"expected a picture that {form} can hold, got {error}") from error
    stream.write(buffer.getvalue())


def _tell_of_clipping(path: str | os.PathLike, low: float, high: float) -> None:
    """Warns where whole numbers cannot hold a picture's values, which noise may leave."""
    if low < -CLIPPED or high > 1 + CLIPPED:
        warnings.warn(
            f"values of {low:g} to {high:g} are clipped to [0, 1], .npy keeps them: {path}",
            stacklevel=3,
        )


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Clips a float picture to [0, 1] and rounds it to 8 bits.

    Args:
      image: float[..., C].

    Returns:
      uint8[..., C].

    Examples:
      >>> import numpy as np
      >>> from sad_jax.storage.pictures import to_uint8
      >>> to_uint8(np.array([-1.0, 0.5, 1.0])).tolist()
      [0, 128, 255]
    """
    return to_levels(image, 8)


def to_levels(image: np.ndarray, bits: int) -> np.ndarray:
    """Clips a float picture to [0, 1] and rounds it to whole numbers of 8 or 16 bits."""
    precision = np.float32 if bits == 8 else np.float64  # which tells halves of a step apart
    values = np.multiply(np.clip(image, 0.0, 1.0), 2**bits - 1, dtype=precision)
    return np.rint(values).astype(_TYPES[bits])


def displayed(image: Float[ArrayLike, "*B C"]) -> Float[np.ndarray, "*B 3"]:
    """Any number of channels as RGB: fewer than three are gray, of more the first three count.

    Args:
      image: float[..., C].

    Returns:
      float32[..., 3], clipped to [0, 1].

    Examples:
      >>> import numpy as np
      >>> from sad_jax.storage.pictures import displayed
      >>> displayed(np.ones((4, 5, 7))).shape, displayed(np.ones((4, 5, 1))).shape
      ((4, 5, 3), (4, 5, 3))
    """
    image = np.clip(np.asarray(image, np.float32), 0.0, 1.0)
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)


def as_rgb(image: Float[ArrayLike, "H W C"]) -> Image.Image:
    """A picture of any number of channels as it is shown on a screen, in 8 bits."""
    return Image.fromarray(to_uint8(displayed(image)))


def _as_float(image) -> np.ndarray:
    """Any finite picture as float32[H, W, C], integers scaled to [0, 1]."""
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is refused
        return as_floats(as_floats(np.asarray(image)).astype(np.float32, copy=False))
