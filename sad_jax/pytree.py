"""Frozen dataclasses that are pytrees, as JAX registers them."""

from __future__ import annotations

import dataclasses
from typing import Any, Self, dataclass_transform

import jax


def static(**options: Any) -> Any:
    """A field that is no leaf: part of the tree's structure, compared with ``==``."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
class PyTree:
    """What derives from it becomes a frozen dataclass whose fields are its branches."""

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(frozen=True)(cls)
        jax.tree_util.register_dataclass(cls)

    def replace(self, **changes: Any) -> Self:
        """The same with other values for the fields that are named."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]
