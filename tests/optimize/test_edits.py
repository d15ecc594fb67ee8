"""Edits of a state: rows of sites and of the optimiser go and come together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model.sites import park
from sad_jax.optimize import edits

SHAPE = (9, 14)


@pytest.fixture
def state(make_sites) -> sad.State:
    """12 sites, of which 3 are gone, in 14 slots, with something in every row of the optimiser."""
    sites = make_sites(12, shape=SHAPE)
    state = sad.make_state(sites, sad.Canvas(SHAPE, k=4), sad.adam(), capacity=14)
    parked = park(state.sites, np.asarray([1, 5, 11]))
    filled = jax.tree.map(
        lambda leaf: (
            leaf + jnp.arange(14.0).reshape(-1, *[1] * (leaf.ndim - 1)) if leaf.ndim else leaf
        ),
        state.optimizer,
    )
    return sad.refresh(state.replace(sites=jax.tree.map(jnp.asarray, parked), optimizer=filled))


@pytest.mark.slow
@pytest.mark.parametrize("slots", [9, 11])
def test_fewer_slots_keep_the_picture_and_the_rows(state, slots):
    """Also where fewer slots are kept than a list holds sites."""
    few = edits.keep_slots(state, slots)
    kept = np.asarray([0, 2, 3, 4, 6, 7, 8, 9, 10])
    assert few.sites.num_sites == few.lists.num_sites == slots
    assert few.num_sites == 9
    order = np.sort(np.concatenate([kept, [1, 5]])) if slots == 11 else kept
    for a, b in zip(
        jax.tree.leaves((few.sites, few.optimizer)),
        jax.tree.leaves((state.sites, state.optimizer)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b[order] if np.ndim(b) else b)
    again = sad.refresh(few)
    expected = sad.render(state.sites, state.lists)
    np.testing.assert_allclose(sad.render(again.sites, again.lists), expected, atol=1e-6)
    np.testing.assert_array_equal(order[again.lists.ids], state.lists.ids)


def test_sites_that_are_no_more_are_marked_in_the_lists(state, reference):
    """The lists of before, renumbered, may still speed up the next search, which stays exact."""
    wider = state.replace(lists=state.lists.replace(ids=state.lists.ids.at[:, ::3, 1].set(5)))
    few = edits.keep_slots(wider, 9)
    assert (np.asarray(few.lists.ids)[:, ::3, 1] == -1).all()
    reference.check_exact(few.sites, sad.refresh(few).lists)


def test_lists_grow_again_when_there_are_sites_for_them(make_sites, reference):
    """K is the canvas's, however few sites the lists were made for."""
    few = sad.make_state(make_sites(3, shape=SHAPE), SHAPE, sad.adam())
    assert (few.lists.k, few.lists.canvas.k) == (3, 8)
    many = few.replace(sites=make_sites(12, shape=SHAPE))
    found = sad.refresh(many).lists
    assert found.k == 8
    reference.check_exact(many.sites, found)
