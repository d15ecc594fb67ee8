"""Pytrees as nested dicts, and these as bytes."""

from __future__ import annotations

from typing import Any

import jax


def names_of(tree: Any) -> Any:
    """A pytree as nested dicts with the names of its branches; None stays, as a leaf."""
    found: dict = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_none)[0]:
        if not path:
            return leaf
        *branches, last = (jax.tree_util.keystr((key,), simple=True) for key in path)
        branch = found
        for name in branches:
            branch = branch.setdefault(name, {})
        branch[last] = leaf
    return found


def with_names(tree: Any, names: Any) -> Any:
    """The pytree with the leaves of what ``names_of`` has made of one like it."""

    def find(path, _):
        branch = names
        for key in path:
            branch = branch[jax.tree_util.keystr((key,), simple=True)]
        return branch

    return jax.tree_util.tree_map_with_path(find, tree, is_leaf=_is_none)


def pack(tree: Any) -> bytes:
    """Nested dicts and lists of arrays and plain values as msgpack."""
    from flax import serialization  # here, as most programs neither write nor read a checkpoint

    return serialization.msgpack_serialize(tree)


def unpack(data: bytes) -> Any:
    """What ``pack`` was given; raises whatever msgpack and NumPy raise for other bytes."""
    from flax import serialization

    return serialization.msgpack_restore(data)


def _is_none(tree: Any) -> bool:
    return tree is None
