"""jax.export: programs whose arguments and results are our pytrees, to bytes and back."""

import jax
import numpy as np
import pytest
from jax import export

import sad_jax as sad

pytest.importorskip("flatbuffers")  # what JAX writes exported programs with


def test_a_program_goes_through_bytes(make_sites, reference):
    sites = make_sites(5, shape=(6, 9))
    lists = reference.lists(sites, (6, 9), k=4, cell=2)

    @jax.jit
    def program(sites, lists):
        return sad.render(sites, lists), sites, lists

    data = export.export(program)(sites, lists).serialize()
    found = export.deserialize(data).call(sites, lists)
    expected = program(sites, lists)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert (found[2].canvas, found[2].num_sites) == (lists.canvas, 5)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # plain XLA, and what runs here
