"""Compiled functions of a user's functions, kept as long as those live and no longer.

A jitted step closes over the user's loss, and the loss over the user's data. A cache that holds the
step would keep both for ever. Here the step holds the user's functions by weak references alone,
and is forgotten when one of them goes.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any


class Remembered:
    """A memory of what was made of some functions, keyed by their identity."""

    def __init__(self):
        self._made: dict[tuple, Any] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, functions: tuple[Callable, ...], *options, make: Callable) -> Any:
        """``make(*functions, *options)``, the same object as long as all functions live.

        ``make`` is given stand-ins that call the functions and do not keep them alive. A bound
        method stands for its object and its function. A function that cannot be referred to weakly
        is not remembered.
        """
        try:
            stand_ins = [_StandIn(function) for function in functions]
        except TypeError:
            return make(*functions, *options)
        key = (*(part for stand_in in stand_ins for part in stand_in.identity), *options)
        if key not in self._made:
            self._made[key] = make(*stand_ins, *options)
            for stand_in in stand_ins:
                weakref.finalize(stand_in.owner(), self._made.pop, key, None)
        return self._made[key]


class _StandIn:
    """Calls a function that it refers to weakly."""

    def __init__(self, function: Callable):
        owner: Any = function
        self.method: Callable | None = None
        if isinstance(function, types.MethodType):
            owner, self.method = function.__self__, function.__func__
        self.owner = weakref.ref(owner)
        self.identity = (id(owner), id(self.method))

    @property
    def function(self) -> Callable:
        owner: Any = self.owner()
        return owner if self.method is None else types.MethodType(self.method, owner)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def __call__(self, *args, **keywords):
        return self.function(*args, **keywords)
