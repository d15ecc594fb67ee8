"""Functions that work on the host and on the device by turns, whatever the user's guard says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import jax

F = TypeVar("F", bound=Callable)


def transferring(function: F) -> F:
    """A function of ours whose work it is to move arrays between the host and the device.

    It runs also under ``jax.transfer_guard("disallow")``, which is there against transfers that
    nobody asked for. A loss of the user's that it calls is not guarded either.
    """

    @functools.wraps(function)
    def run(*arguments, **options):
        with jax.transfer_guard("allow"):
            return function(*arguments, **options)

    return run  # type: ignore[return-value]
