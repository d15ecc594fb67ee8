"""A picture in memory: what counts as one, and how its integers become floats."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_floats(image: Any) -> Any:
    """A picture as floats with a channel axis; unsigned integers and bool are divided by their
    largest value.

    Args:
      image: [H, W] or [H, W, C], at least one pixel and channel; float, unsigned or bool. Within a
        transformation its values are not known, and not checked.

    Returns:
      [H, W, C] in float64 where the picture was (and JAX has it), else in float32; on the host,
      but within a transformation. It is the picture's own memory where nothing had to change.

    Raises:
      ValueError: another number of axes, an empty picture, another type, NaN or infinite values.

    Examples:
      >>> import numpy as np
      >>> from sad_jax.model.picture import as_floats
      >>> as_floats(np.full((1, 2), 51, np.uint8)).tolist()
      [[[0.20000000298023224], [0.20000000298023224]]]
    """
    known = not isinstance(image, jax.core.Tracer)
    image = np.asarray(jax.device_get(image)) if known else image
    if image.ndim not in (2, 3):
        raise ValueError(f"expected a picture [H, W] or [H, W, C], got shape {image.shape}")
    if not image.size:
        raise ValueError(f"expected a picture of at least one pixel, got shape {image.shape}")
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype.kind == "u":
        return scaled_by(image, np.iinfo(image.dtype).max)
    if image.dtype != bool and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"expected float or unsigned values, got {image.dtype}")
    floats = jnp.promote_types(image.dtype.newbyteorder("="), jnp.float32)
    image = image.astype(jax.dtypes.canonicalize_dtype(floats), copy=False)
    if known and (bad := int(image.size - np.isfinite(image).sum())):
        raise ValueError(f"expected finite values, got {bad} NaN or infinite ones")
    return image


def scaled_by(values: Any, largest: int) -> Any:
    """Unsigned integers as float32 in [0, 1], given which is 1; rounded once."""
    exact = values.dtype.itemsize <= 2 and largest < 2**24  # both are whole numbers in float32
    return (values / (np.float32 if exact else np.float64)(largest)).astype(np.float32, copy=False)
