"""Pictures: reading, checking and writing them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from PIL import Image, ImageFile, ImageOps

from sad_jax.storage.atomic import read_bytes, write_bytes

FLOAT_RANGE = (-1.0, 2.0)  # beyond it, a float picture is not a noisy [0, 1] but some other unit

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_KEPT_MODES = {"1", "L", "LA", "RGB", "RGBA", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_LOW_BYTES = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


def check_image(image: Shaped[ArrayLike, "H W *C"]) -> Float[np.ndarray, "H W C"]:
    """Checks a picture in memory and brings it to float32 with a channel axis.

    Args:
      image: [H, W] or [H, W, C] with C >= 1; float in about [0, 1] (noise may leave it), or uint8,
        uint16 or bool, whose largest value becomes 1.

    Returns:
      float32[H, W, C].

    Raises:
      ValueError: for another number of axes, an empty picture, another type, NaN or infinite values
        or floats in another unit than [0, 1].

    Example:
      >>> import numpy as np
      >>> from sad_jax.storage.pictures import check_image
      >>> check_image(np.full((2, 3), 255, np.uint8)).tolist()
      [[[1.0], [1.0], [1.0]], [[1.0], [1.0], [1.0]]]
    """
    image = _as_float(image)
    low, high = float(image.min()), float(image.max())
    if low < FLOAT_RANGE[0] or high > FLOAT_RANGE[1]:
        raise ValueError(f"expected float values in [0, 1], got {low:g} to {high:g}")
    return image


def read_image(path: str | os.PathLike) -> Float[np.ndarray, "H W C"]:
    """Reads a picture file: PNG, JPEG, TIFF and what else Pillow reads, or a NumPy ``.npy`` array.

    16-bit files keep their 16 bits, alpha stays a channel, palettes become RGB or RGBA, and a
    photograph is turned upright as its EXIF tag says.

    Args:
      path: of the file.

    Returns:
      float32[H, W, C] in [0, 1]; C is 1 for gray, 2 for gray with alpha, 3 for RGB, 4 for RGBA, any
      number for ``.npy``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not a whole picture of at least 2 pixels a side and finite values.

    Example:
      >>> import numpy as np, os, tempfile
      >>> from sad_jax.storage.pictures import read_image, write_image
      >>> path = os.path.join(tempfile.mkdtemp(), "gray.png")
      >>> write_image(path, np.full((4, 6, 1), 0.2))
      >>> picture = read_image(path)
      >>> picture.shape, round(float(picture[0, 0, 0]), 6)
      ((4, 6, 1), 0.2)
    """
    data = read_bytes(path, "a picture")
    try:
        image = _decode_npy(data) if data.startswith(b"\x93NUMPY") else _decode_picture(data)
    except Exception as error:  # the decoders raise anything on bad bytes
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"{len(data)} bytes of no known format"
        raise ValueError(
            f"expected a whole picture (PNG, JPEG, TIFF, npy, ...), got {reason}: {path}"
        ) from error
    try:
        image = check_image(image)
    except ValueError as error:
        raise ValueError(f"{error}: {path}") from None
    if min(image.shape[:2]) < 2:
        height, width, _ = image.shape
        raise ValueError(f"expected at least 2 pixels a side, got {width}x{height}: {path}")
    return image


def is_picture(path: Path) -> bool:
    """Whether a file's suffix is one that ``read_image`` reads; hidden files are not pictures."""
    known = Image.registered_extensions()
    suffix = path.suffix.lower()
    return (
        path.is_file()
        and not path.name.startswith(".")
        and (suffix == ".npy" or known.get(suffix) in Image.OPEN)
    )


def write_image(path: str | os.PathLike, image: Shaped[ArrayLike, "H W *C"]) -> None:
    """Writes a picture, whole or not at all; the suffix says in which format.

    Values are clipped to [0, 1] and rounded to 8 bits; ``.npy`` keeps float32 as it is.

    Args:
      path: of the file.
      image: [H, W] or [H, W, C], float or uint8; C from 1 to 4, any number for ``.npy``.

    Raises:
      ValueError: for a suffix that names no format, or a picture that the format cannot hold.
    """
    path = Path(path)
    image = _as_float(image)
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(buffer, image)
    else:
        suffixes = Image.registered_extensions()
        form = suffixes.get(path.suffix.lower())
        if form not in Image.SAVE:
            raise ValueError(f"expected a picture's suffix such as .png, got {str(path)!r}")
        if image.shape[2] not in _MODES:
            raise ValueError(f"expected 1 to 4 channels (or a .npy file), got {image.shape[2]}")
        levels = to_uint8(image)
        picture = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
        try:
            picture.save(buffer, format=form)
        except OSError as error:
            raise ValueError(f"expected a picture that {form} can hold, got {error}") from error
    write_bytes(path, buffer.getvalue())


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Clips a float picture to [0, 1] and rounds it to 8 bits.

    Args:
      image: float[..., C].

    Returns:
      uint8[..., C].

    Example:
      >>> import numpy as np
      >>> from sad_jax.storage.pictures import to_uint8
      >>> to_uint8(np.array([-1.0, 0.5, 1.0])).tolist()
      [0, 128, 255]
    """
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def displayed(image: Float[ArrayLike, "*B C"]) -> Float[np.ndarray, "*B 3"]:
    """Any number of channels as RGB: fewer than three are gray, of more the first three count.

    Args:
      image: float[..., C].

    Returns:
      float32[..., 3], clipped to [0, 1].

    Example:
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
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ValueError(f"expected a picture [H, W] or [H, W, C], got shape {image.shape}")
    if not image.size:
        raise ValueError(f"expected a picture of at least one pixel, got shape {image.shape}")
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        return (image / np.float32(np.iinfo(image.dtype).max)).astype(np.float32)
    if image.dtype != bool and image.dtype.kind != "f":
        raise ValueError(f"expected float, uint8 or uint16 values, got {image.dtype}")
    image = image.astype(np.float32)
    bad = int(image.size - np.isfinite(image).sum())
    if bad:
        raise ValueError(f"expected finite values, got {bad} NaN or infinite ones")
    return image


def _decode_npy(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)


def _decode_picture(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        raw_mode = _raw_mode(picture)
        array = _pixels(picture)
    layout, _, depth = raw_mode.partition(";")
    if layout not in ("RGB", "RGBA") or depth not in _LOW_BYTES:
        return array
    # Of 16-bit colour Pillow keeps the high bytes only; a second reading gets the low ones.
    with Image.open(io.BytesIO(data)) as picture:
        _set_raw_mode(picture, f"{layout};{_LOW_BYTES[depth]}")
        return array.astype(np.uint16) << 8 | _pixels(picture)


def _pixels(picture: ImageFile.ImageFile) -> np.ndarray:
    """A picture turned upright, as an array of its own channels, or else of RGB or RGBA."""
    mode = picture.mode
    if mode not in _KEPT_MODES:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
    return np.asarray(ImageOps.exif_transpose(picture).convert(mode))


def _raw_mode(picture: ImageFile.ImageFile) -> str:
    """How the file lays out a pixel, in Pillow's words, such as ``RGB;16B``."""
    args = picture.tile[0].args if picture.tile else None
    return args[0] if isinstance(args, tuple) else args or ""


def _set_raw_mode(picture: ImageFile.ImageFile, mode: str) -> None:
    picture.tile = [
        tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
        for tile in picture.tile
    ]
