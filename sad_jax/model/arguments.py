"""Checks of arguments that many public functions take: what was expected and what came."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp


def whole(number: Any, name: str, *, least: int) -> int:
    """An int from an argument that must be a whole number of at least ``least``.

    Raises:
      ValueError: anything else; a number that is not known while JAX traces is to be static.
    """
    if isinstance(number, jax.core.Tracer):
        raise ValueError(
            f"expected {name} known while JAX traces (static_argnames={name!r}), got {number}"
        )
    try:
        found = operator.index(number)
    except TypeError:
        found = least - 1
    if found < least:
        raise ValueError(f"expected {name}, a whole number of at least {least}, got {number!r}")
    return found


def check_key(key: Any) -> jax.Array:
    """The key, if it is one of JAX, of either style; else a ValueError."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not (typed and key.ndim == 0) and not (dtype == jnp.uint32 and key.ndim == 1):
        raise ValueError(f"expected one JAX random key (jax.random.key(0)), got {describe(key)}")
    return key


def describe(value: Any) -> str:
    """A value in a few words, for messages: arrays by type and shape."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    return repr(value) if len(repr(value)) < 60 else type(value).__name__
