"""Checkpoints: all of a fit in a file, from which it goes on to the very same bytes.

Little-endian: 8 bytes of magic (0x89 "SADfit" 0x0a), u32 format version, u32 CRC-32 of all that
follows, which is msgpack of arrays and plain values: what fit it is of, the state, the history and
the seconds.

What is in it does not depend on the devices: a fit over a mesh goes on over another one. Of several
processes the first writes and all read. (Orbax would spare process 0 the lists of the whole
picture, which are fetched band after band; but it keeps a folder of files in place of one that is
whole or not there, and knows neither the fit nor a checksum.)
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.packing import names_of, pack, unpack, with_names
from sad_jax.fitting.photo import Photo, PhotoInBands
from sad_jax.fitting.result import new_history
from sad_jax.lists.candidates import Candidates, shape_of_lists
from sad_jax.model.canvas import MOST_SITES, Canvas
from sad_jax.optimize.state import State
from sad_jax.sharding import from_first, place_rows, to_host
from sad_jax.storage.atomic import check_place, read_bytes, write_bytes
from sad_jax.version import __version__

MAGIC = b"\x89SADfit\n"
FORMAT = 2
_HEADER = struct.Struct("<8s2I")


class Checkpoint:
    """The file in which a fit keeps its state; None keeps nothing.

    Attributes:
      path: of the file.
      identity: what fit it is of, see ``identity_of``.
      every: seconds between two writes.
    """

    def __init__(self, path: str | os.PathLike | None, identity: dict[str, str], every: float):
        self.path, self.identity, self.every = path, identity, every
        self._last = time.monotonic()
        self._warned = False
        if path is not None:
            check_place(path)

    def save_if_due(self, state: State, history: dict, seconds: float) -> None:
        """Saves where the last time is long enough ago, by the clock of process 0."""
        due = time.monotonic() >= self._last + self.every
        if self.path is not None and from_first(np.asarray(due)):
            self.save(state, history, seconds)

    def save(self, state: State, history: dict, seconds: float) -> None:
        """Writes everything, whole or not at all; where that fails, it warns once."""
        if self.path is None:
            return
        try:
            data = format_checkpoint(self.identity, state, history, seconds)
            if jax.process_index() == 0:
                write_bytes(self.path, data)
        except (OSError, ValueError) as error:  # a full disk, a folder that is gone or read-only
            if not self._warned:
                warnings.warn(f"expected to write a checkpoint, got {error}", stacklevel=3)
            self._warned = True
        self._last = time.monotonic()

    def load(self, like: State) -> tuple[State, dict, float] | None:
        """What was saved, or None if there is no such file; see ``load_checkpoint``."""
        found = self.path is not None and os.path.exists(self.path)
        if found != from_first(np.asarray(found)):
            raise ValueError(f"expected a checkpoint that all processes see, got {self.path}")
        if self.path is None or not found:
            return None
        return load_checkpoint(self.path, self.identity, like)


def save_checkpoint(
    path: str | os.PathLike, identity: dict[str, str], state: State, history: dict, seconds: float
) -> None:
    """Writes the state, the history and the seconds so far, whole or not at all."""
    write_bytes(path, format_checkpoint(identity, state, history, seconds))


def format_checkpoint(
    identity: dict[str, str], state: State, history: dict, seconds: float
) -> bytes:
    """A checkpoint's bytes."""
    rows = min(map(len, history.values()))  # Ctrl-C may have come amid the writing of one
    tree = {
        "fit": identity,
        "state": names_of(_on_host(state)),
        "history": {name: values[:rows] for name, values in history.items()},
        "seconds": seconds,
    }
    body = pack(jax.tree.map(_host, tree))
    return _HEADER.pack(MAGIC, FORMAT, zlib.crc32(body)) + body


def load_checkpoint(
    path: str | os.PathLike, identity: dict[str, str], like: State
) -> tuple[State, dict, float]:
    """Reads what ``save_checkpoint`` wrote.

    Args:
      path: of the file.
      identity: of the fit that is to go on.
      like: a state of the same fit at its start: free slots may have been given up since, and
        lists become longer.

    Returns:
      The state, the history and the seconds so far.

    Raises:
      ValueError: if the file is damaged, or of another picture, mask, settings, seed or version.
    """
    try:
        return parse_checkpoint(read_bytes(path, "a checkpoint"), identity, like)
    except ValueError as error:
        raise ValueError(f"{error}: {path}") from None


def parse_checkpoint(
    data: bytes, identity: dict[str, str], like: State
) -> tuple[State, dict, float]:
    """``load_checkpoint`` of a file's bytes."""
    tree = _unpack(data)
    _check_identity(tree["fit"], identity)
    state = _restore(tree["state"], like)
    history, seconds = tree["history"], tree["seconds"]
    if not (type(seconds) is float and 0 <= seconds < math.inf):
        raise ValueError(f"expected a checkpoint's seconds, got {seconds!r:.60}")
    _check_history(history, int(state.step))
    return state, history, seconds


def identity_of(photo: Photo | PhotoInBands, config: FitConfig, key: jax.Array) -> dict[str, str]:
    """What a checkpoint must have in common with a fit, by name; the time budget may differ."""
    picture, mask = photo.digests()
    settings = dataclasses.replace(config, seconds=None, recipe=config.constants)
    return {
        "version": f"sad-jax {__version__}",
        "picture": picture,
        "mask": mask,
        "settings": settings.to_json(),
        "seed": f"{jax.random.key_impl(key)} {np.asarray(jax.random.key_data(key)).tolist()}",
    }


def _check_identity(found: Any, expected: dict[str, str]) -> None:
    """Raises with the first thing in which a checkpoint is another fit's."""
    if not isinstance(found, dict):
        raise ValueError("expected a checkpoint that says of which fit it is, got none")
    for name, value in expected.items():
        other = found.get(name)
        if other == value:
            continue
        if name == "settings":
            names = _differing(other, value)
            raise ValueError(f"expected a checkpoint of the same settings, got other {names}")
        if name == "version":
            raise ValueError(f"expected a checkpoint of {value}, got one of {other!r:.60}")
        raise ValueError(f"expected a checkpoint of the same {name}, got one of another {name}")


def _differing(found: Any, expected: str) -> str:
    """The names of the settings that are not the same."""
    try:
        theirs, ours = json.loads(found), json.loads(expected)
        names = [name for name in ours if theirs.get(name) != ours[name]]
    except (TypeError, ValueError, AttributeError, RecursionError):
        names = []
    return ", ".join(names) or "settings"


def _unpack(data: bytes) -> dict[str, Any]:
    """The tree in a checkpoint's bytes, whole and unaltered."""
    if len(data) < _HEADER.size or not data.startswith(MAGIC):
        raise ValueError(f"expected a checkpoint of a fit, got the first bytes {data[:8]!r}")
    _, version, stored = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise ValueError(f"expected a checkpoint of format {FORMAT}, got {version}")
    found = zlib.crc32(memoryview(data)[_HEADER.size :])
    if stored != found:
        raise ValueError(
            f"expected the checksum {stored:08x}, got {found:08x}: a damaged checkpoint"
        )
    try:
        tree = unpack(data[_HEADER.size :])
    except Exception as error:  # msgpack and NumPy raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"expected a whole checkpoint, got {reason:.100}") from None
    if not isinstance(tree, dict) or set(tree) != {"fit", "state", "history", "seconds"}:
        raise ValueError("expected a checkpoint's four parts, got others")
    return tree


def _restore(tree: Any, like: State) -> State:
    """The state of a tree, checked against one of the same fit."""
    plain = _with_plain_lists(_with_plain_key(like))
    slots, capacity = _count_slots(tree), like.sites.num_sites
    if not 1 <= slots <= capacity:
        raise ValueError(f"expected a checkpoint of 1 to {capacity} sites, got {slots}")
    for path, found, start in _pairs(tree, names_of(plain)):
        _check_leaf(path, found, start, _shapes(path, np.shape(start), like.lists, slots))
    ids, least = tree["lists"]["ids"], min(int(tree["step"]), int(tree["lists"]["passes"]))
    if ids.min() < -1 or ids.max() >= slots or least < 0:
        raise ValueError("expected a checkpoint of ids and counts in range, got others")
    state = with_names(plain, tree)
    canvas, k, mesh = like.lists.canvas, ids.shape[-1], like.lists.mesh
    canvas = canvas if min(canvas.k, slots) == k else Canvas.of(canvas, k=k)
    if mesh is not None:
        ids = place_rows(ids, mesh, shape_of_lists(canvas, slots, mesh)[0], edge=True)
    lists = state.lists.replace(ids=ids, num_sites=slots, canvas=canvas, mesh=mesh)
    state = jax.tree.map(jnp.asarray, state.replace(lists=lists))
    if like.key is None:
        return state
    implementation = jax.random.key_impl(like.key)
    return state.replace(key=jax.random.wrap_key_data(state.key, impl=implementation))


def _count_slots(tree: Any) -> int:
    """Sites and free slots in a tree; 0 if it is none."""
    try:
        return len(tree["sites"]["radius"])
    except (TypeError, KeyError, IndexError):
        return 0


def _pairs(found: Any, start: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two trees of the same form, side by side, with their paths."""
    if not isinstance(start, dict):
        yield path, found, start
        return
    if not isinstance(found, dict) or found.keys() != start.keys():
        raise ValueError(f"expected a checkpoint with the state's fields, got others in {path!r}")
    for name in start:
        yield from _pairs(found[name], start[name], f"{path}/{name}")


def _shapes(
    path: str, start: tuple[int, ...], lists: Candidates, slots: int
) -> set[tuple[int, ...]]:
    """The shapes that an array may have, given the one at the start and the number of slots."""
    if path == "/lists/ids":
        grid = lists.grid
        longest = range(lists.canvas.k, MOST_SITES + 1)
        return {(grid.rows, grid.columns, min(k, slots)) for k in longest}
    rows = path != "/key" and start[:1] == (lists.num_sites,)
    return {(slots, *start[1:]) if rows else start}


def _check_leaf(path: str, found: Any, start: Any, shapes: set[tuple[int, ...]]) -> None:
    """Raises unless an array is of the right shape and type, and finite where it started so."""
    if start is None and found is None:
        return
    start = np.asarray(start)
    if not isinstance(found, np.ndarray) or found.dtype != start.dtype or found.shape not in shapes:
        got = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "none"
        expected = f"{start.dtype} of shape {' or '.join(map(str, sorted(shapes)))}"
        raise ValueError(f"expected a checkpoint's {path[1:]} to be {expected}, got {got}")
    floats = start.dtype.kind == "f"
    if floats and np.isfinite(start).all() and not np.isfinite(found).all():
        raise ValueError(f"expected a checkpoint's {path[1:]} to be finite, got NaN or infinity")


def _check_history(history: Any, step: int) -> None:
    """Raises unless it is the history of a fit after so many steps."""
    names, known = new_history().keys(), isinstance(history, dict)
    if not known or history.keys() != names or not all(type(v) is list for v in history.values()):
        raise ValueError("expected a checkpoint's history, got another form")
    kinds = {name: {type(value) for value in values} for name, values in history.items()}
    whole = kinds.pop("step") | kinds.pop("sites") <= {int}
    if not whole or not all(kind <= {float} for kind in kinds.values()):
        raise ValueError("expected a checkpoint's history of numbers, got others")
    if len({len(values) for values in history.values()}) != 1 or history["step"][-1:] > [step]:
        raise ValueError(f"expected a checkpoint's history up to step {step}, got another")


def _with_plain_key(state: State) -> State:
    """The state with its random key, if any, as an array of whole numbers."""
    return state if state.key is None else state.replace(key=jax.random.key_data(state.key))


def _on_host(state: State) -> State:
    """The state with its lists on the host, as many as the picture has."""
    lists, state = state.lists, _with_plain_key(state)
    ids = to_host(lists.ids)[: lists.grid.rows]
    return state.replace(lists=lists.replace(ids=ids, mesh=None))


def _with_plain_lists(state: State) -> State:
    """The state with an array of no memory in place of lists over devices."""
    shape = shape_of_lists(state.lists.canvas, state.lists.num_sites, None)
    ids = np.broadcast_to(np.int32(0), shape)
    return state.replace(lists=state.lists.replace(ids=ids, mesh=None))


def _host(leaf):
    return np.asarray(leaf) if isinstance(leaf, jax.Array | np.generic) else leaf
