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
    found = whole_numbers([number])
    if found is None or found[0] < least:
        raise ValueError(
            f"expected {name}, a whole number of at least {least}, got {describe(number)}"
        )
    return found[0]


def whole_numbers(numbers: Any) -> tuple[int, ...] | None:
    """The numbers as ints, or None where they are no sequence of whole numbers."""
    try:
        return tuple(operator.index(number) for number in numbers)
    except TypeError:
        return None


def check_key(key: Any) -> jax.Array:
    """The key, if it is one of JAX, of either style; else a ValueError."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not (typed and key.ndim == 0) and not (dtype == jnp.uint32 and key.ndim == 1):
        raise ValueError(f"expected one JAX random key (jax.random.key(0)), got {describe(key)}")
    return key


def describe(value: Any) -> str:
    """A value in a few words, for messages: arrays by type and shape."""
    if getattr(value, "shape", ()) != () and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    words = repr(value)
    return words if len(words) < 60 and "\n" not in words else f"a {type(value).__name__}"
