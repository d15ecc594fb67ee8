"""Trees of arrays as bytes of msgpack, as ``flax.serialization`` writes them, and back.

Branches are named by their fields, keys or numbers. An array is an extension of type 1: its shape,
the name of its dtype and its bytes. One that is too large for an extension is a map with the mark
``SPLIT``, its shape and its parts.
"""

from __future__ import annotations

from typing import Any

import jax
import msgpack
import numpy as np

ARRAY = 1  # the type of the extension
SPLIT = "__msgpack_chunked_array__"
PART = 2**30  # bytes of an array that are written at once; msgpack holds less than 2^32


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
    """Nested dicts and lists of arrays and plain values as bytes."""
    return msgpack.packb(tree, default=_pack_array, strict_types=True)


def unpack(data: bytes) -> Any:
    """What ``pack`` was given; raises whatever msgpack and NumPy raise for other bytes."""
    return msgpack.unpackb(data, ext_hook=_unpack_array, object_hook=_join, raw=False)


def _pack_array(array: np.ndarray) -> Any:
    if array.nbytes <= PART:
        parts = array.shape, array.dtype.name, array.tobytes()
        return msgpack.ExtType(ARRAY, msgpack.packb(parts))
    size, flat = PART // array.itemsize, array.reshape(-1)
    chunks = [flat[first : first + size] for first in range(0, flat.size, size)]
    return {SPLIT: True, "shape": _numbered(array.shape), "chunks": _numbered(chunks)}


def _unpack_array(kind: int, data: bytes) -> np.ndarray:
    if kind != ARRAY:
        raise ValueError(f"expected arrays, got an extension of type {kind}")
    shape, name, values = msgpack.unpackb(data)
    return np.frombuffer(values, np.dtype(name)).reshape(shape)


def _join(branch: dict) -> Any:
    if SPLIT not in branch:
        return branch
    chunks, shape = branch["chunks"], branch["shape"]
    return np.concatenate(list(chunks.values())).reshape(list(shape.values()))


def _numbered(values: Any) -> dict[str, Any]:
    return {str(i): value for i, value in enumerate(values)}


def _is_none(tree: Any) -> bool:
    return tree is None
