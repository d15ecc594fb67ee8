"""One step of any optax transformation: it is told what it takes, and refused where it cannot work.

Beside gradient, state and parameters, optax's ``update`` may take further arguments by name: a line
search the loss as a function, ``polyak_sgd`` its value, ``sam`` its gradient, ``sophia`` the loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import optax


def start(optimizer: optax.GradientTransformation, unknowns) -> optax.OptState:
    """``init``; a ValueError of one line where it cannot start from them."""
    try:
        with jax.transfer_guard("allow"):  # of the numbers with which it starts
            return optimizer.init(unknowns)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"expected an optimizer that starts from {type(unknowns).__name__}, "
            f"got {in_a_line(error)}"
        ) from error


def told_of(value: jax.Array, gradient, function: Callable) -> dict[str, Any]:
    """What an optimiser may be told beside the gradient, by the names that optax uses."""

    def value_fn(
        unknowns,
        *,
        grad_fn=None,
        obj_fn=None,
        sites=None,
        lists=None,
        loss=None,
        draw=None,
        color_range=None,
    ):
        """optax's line searches hand it all that they are told, if its names say so."""
        return function(unknowns)

    slope = jax.grad(function)
    grad_fn = lambda unknowns, *step: slope(unknowns)  # noqa: E731
    told = {"value": value, "grad": gradient, "value_fn": value_fn}
    return told | {"grad_fn": grad_fn, "obj_fn": function}


def update_by(optimizer: optax.GradientTransformation, gradient, state, unknowns, told: dict):
    """The optimiser's updates and next state; it is told what it takes and no more."""
    update = optax.with_extra_args_support(optimizer).update
    takes = inspect.signature(update).parameters
    if all(parameter.kind != parameter.VAR_KEYWORD for parameter in takes.values()):
        told = {name: what for name, what in told.items() if name in takes}
    try:
        updates, after = update(gradient, state, unknowns, **told)
        jax.tree.map(lambda new, old: None, updates, unknowns)  # of one form
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected an optimizer that moves {type(unknowns).__name__} and wants no more than "
            f"value, grad, value_fn, grad_fn and obj_fn, got {in_a_line(error)}"
        ) from error
    return updates, after


def in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
