"""Trees as nested dicts, against flax; our dataclasses."""

import flax.serialization
import flax.struct
import jax
import numpy as np
import optax
import pytest

from sad_jax.fitting import packing
from sad_jax.pytree import PyTree, static


class Ours(PyTree):
    a: object
    b: object = None
    name: str = static(default="x")


class Theirs(flax.struct.PyTreeNode):
    a: object
    b: object = None
    name: str = flax.struct.field(pytree_node=False, default="x")


def trees():
    rng = np.random.default_rng(0)
    inner = {"k": (rng.uniform(size=(3, 1)), [np.int32(4), None])}
    state = optax.scale_by_adam().init({"w": np.ones(3, np.float32)})
    return [cls(inner, cls(np.zeros((2, 0), bool), state)) for cls in (Ours, Theirs)]


def test_names_are_those_of_flax():
    ours, theirs = trees()
    found, expected = packing.names_of(ours), flax.serialization.to_state_dict(theirs)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    back = packing.with_names(ours.replace(name="y"), found)
    assert jax.tree.structure(back) == jax.tree.structure(ours.replace(name="y"))
    jax.tree.map(np.testing.assert_array_equal, back.replace(name="x"), ours)


def test_bytes_are_read_as_they_were_written():
    tree = {"a": np.arange(12, dtype=np.int32).reshape(3, 4), "b": {"c": [1.5, None, "text"]}}
    found = packing.unpack(packing.pack(tree))
    np.testing.assert_array_equal(found["a"], tree["a"])
    assert found["a"].dtype == np.int32
    assert found["b"] == tree["b"]


def test_fields_cannot_be_set_and_static_ones_are_no_leaves():
    tree = Ours(np.ones(2), name="z")
    with pytest.raises(AttributeError, match="cannot assign to field"):
        tree.a = 3
    assert len(jax.tree.leaves(tree)) == 1
    assert jax.tree.map(lambda leaf: leaf + 1, tree).name == "z"
    assert jax.tree.structure(tree) != jax.tree.structure(tree.replace(name="x"))
