"""Sums for the sites: the lists from the sites' side, and what is too large for one go.

That the sums themselves are right is tested with the passes that they are part of.
"""

import jax
import jax.numpy as jnp
import pytest

from kernels_pallas import INTERPRETED, site_sums, transpose_lists
from sad_jax.backend import Backend


def test_lists_are_transposed():
    """Cells in the order of their sites; the last site stands in no list."""
    ids = jnp.asarray([[[0, 2], [2, 1], [1, 2]]])
    cells, begin = transpose_lists(ids, 4)
    assert cells.tolist() == [0, 1, 2, 0, 1, 2]
    assert begin.tolist() == [0, 1, 3, 6, 6]


@pytest.mark.slow
def test_a_large_picture_is_summed_in_parts(make_case, run_pass, assert_same, monkeypatch):
    """More slot sums than may exist at once: 2 blocks, and a padded third and fourth, by twos."""
    monkeypatch.setattr(site_sums, "MOST_SLOT_BYTES", 2 * 10 * 2 * 8192 * 4)
    jax.clear_caches()
    case = make_case((151, 140), 20, 3, 2, 1)
    assert case[1].grid.blocks == 3

    by_slots = Backend("pallas", INTERPRETED, deterministic=False)
    found = run_pass(*case, name="gradient", backend=by_slots)
    assert_same(found, run_pass(*case, name="gradient", backend=Backend("xla")), 1e-4)
