"""Checkpoints: all of a fit in a file, from which it goes on to the very same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.fitting.config import FitConfig
from sad_jax.optimize.state import State
from sad_jax.storage.atomic import write_bytes


def save_checkpoint(
    path: str | os.PathLike, signature: str, state: State, history: dict, seconds: float
) -> None:
    """Writes the state, the history and the seconds so far, whole or not at all."""
    tree = {
        "signature": signature,
        "state": flax.serialization.to_state_dict(_with_plain_key(state)),
        "history": history,
        "seconds": seconds,
    }
    write_bytes(path, flax.serialization.msgpack_serialize(jax.tree.map(_host, tree)))


def load_checkpoint(
    path: str | os.PathLike, signature: str, like: State
) -> tuple[State, dict, float]:
    """Reads what ``save_checkpoint`` wrote; raises a ValueError if it is of another fit.

    ``like`` is a state of the same fit, at any step.
    """
    try:
        tree = flax.serialization.msgpack_restore(Path(path).read_bytes())
        found = tree["signature"]
    except Exception as error:  # msgpack raises many kinds
        raise ValueError(f"expected a checkpoint of a fit, got {path}: {error}") from None
    if found != signature:
        raise ValueError(f"expected a checkpoint of this image and config, got another's: {path}")
    state = flax.serialization.from_state_dict(_with_plain_key(like), tree["state"])
    state = jax.tree.map(jnp.asarray, state)
    lists = state.lists.replace(num_sites=state.sites.num_sites)  # may have fallen since ``like``
    state = state.replace(lists=lists)
    if state.key is not None:
        state = state.replace(key=jax.random.wrap_key_data(state.key))
    return state, {name: list(v) for name, v in tree["history"].items()}, tree["seconds"]


def signature_of(photo: np.ndarray, weight: jax.Array | None, config: FitConfig) -> str:
    """Tells whether a checkpoint belongs to the same fit; the time budget may differ."""
    same = dataclasses.replace(config, seconds=None, recipe=config.constants)
    text = same.to_json() + str(photo.shape)
    parts = [
        text.encode(),
        photo.tobytes(),
        b"" if weight is None else np.asarray(weight).tobytes(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _with_plain_key(state: State) -> State:
    """The state with its random key, if any, as an array of whole numbers."""
    return state if state.key is None else state.replace(key=jax.random.key_data(state.key))


def _host(leaf):
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf
