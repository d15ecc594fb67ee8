"""The merge of lists by the kernel, interpreted, and by the CPU engine, against XLA's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from kernels_pallas import INTERPRETED, merge_lists
from sad_jax.model.score import site_rows


@pytest.mark.parametrize(
    ("shape", "n", "channels", "k", "cell"),
    [((1, 1), 1, 3, 8, 1), ((13, 10), 30, 3, 8, 4), ((11, 14), 40, 4, 1, 2)],
)
def test_propagated_lists_are_those_of_xla(
    make_sites, reference, engine, shape, n, channels, k, cell
):
    sites = make_sites(n, channels, shape)
    start = sad.seed_candidates(sites, shape, key=jax.random.key(0), k=k, cell=cell)
    step = partial(sad.propagate, sites, start, key=jax.random.key(1))
    found, expected = step(implementation=engine), step(implementation="xla")
    ids, other = np.asarray(found.ids), np.asarray(expected.ids)
    assert int(found.passes) == 1
    assert (np.diff(np.sort(ids, -1), axis=-1) > 0).all(), "a site twice in a list"
    points = reference.centers(shape, cell)
    of = lambda ids: np.take_along_axis(  # noqa: E731
        reference.scores(sites, points, max(shape)), ids.reshape(len(points), -1), 1
    )
    np.testing.assert_allclose(of(ids), of(other), rtol=1e-4, atol=1e-3)
    assert np.mean(ids == other) > 0.99


def test_equal_scores_are_merged_by_id(make_sites):
    sites = jax.tree.map(lambda leaf: np.repeat(leaf, 9, 0), make_sites(1))
    ids = jnp.asarray([7, 3, 7, 8, 0, 3], jnp.int32)[None, :, None] * jnp.ones((1, 1, 4), jnp.int32)

    @jax.jit
    def merged(sites):
        return merge_lists(site_rows(sites, 16), ids, jnp.zeros((1, 2, 4)), 4, INTERPRETED)

    assert merged(sites)[0, :, 0].tolist() == [0, 3, 7, 8]
