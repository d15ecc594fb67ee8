"""Arithmetic of arrays of unlike rank, whatever the user's setting says about it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import jax

F = TypeVar("F", bound=Callable)


def broadcasting(function: F) -> F:
    """A function of ours that lets arrays of unlike rank meet, as pixels and lists of pixels do.

    It runs also under ``jax.numpy_rank_promotion("raise")``, which goes on to hold for the user's
    own functions: none may be called from within.
    """

    @functools.wraps(function)
    def run(*arguments, **options):
        with jax.numpy_rank_promotion("allow"):
            return function(*arguments, **options)

    return run  # type: ignore[return-value]
