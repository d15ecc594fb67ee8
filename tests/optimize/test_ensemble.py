"""Ensembles: members as they come out alone, their mean and spread, members that are lost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sad_jax as sad

SHAPE, MEMBERS, N = (6, 9), 3, 5
GOAL = np.random.default_rng(0).uniform(size=(*SHAPE, 2)).astype(np.float32)
OPTIMIZER = optax.adam(0.05)


def loss(image, goal):
    return jnp.mean((image - goal) ** 2)


@pytest.fixture(scope="module")
def starts() -> sad.Sites:
    keys = jax.random.split(jax.random.key(1), MEMBERS)
    return jax.vmap(lambda key: sad.init_sites(GOAL, N, key=key))(keys)


def member(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


@pytest.mark.slow
@pytest.mark.parametrize("num_sites", [N, N + 2])
def test_members_are_what_minimize_makes_of_their_starts(starts, num_sites):
    options = {"steps": 6, "optimizer": OPTIMIZER, "num_sites": num_sites}  # Adam enlarges rounding
    heard = []
    found = sad.minimize_ensemble(loss, starts, SHAPE, GOAL, progress=heard.append, **options)
    assert [now.step for now in heard] == list(range(1, 7))
    for i in range(MEMBERS):
        alone = sad.minimize(loss, member(starts, i), SHAPE, GOAL, **options)
        picture = sad.render(alone.sites, alone.lists)
        assert alone.num_sites == member(found.states, i).num_sites == num_sites
        np.testing.assert_allclose(found.pictures[i], picture, atol=1e-3)
        np.testing.assert_allclose(found.losses[i], loss(picture, GOAL), rtol=1e-3)
    pictures = np.asarray(found.pictures, np.float64)
    np.testing.assert_allclose(found.mean, pictures.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std, pictures.std(0, ddof=1), atol=1e-5)
    best = member(found.states, int(np.argmin(found.losses)))
    np.testing.assert_array_equal(found.best.sites.color, best.sites.color)


@pytest.mark.slow
def test_members_have_params_of_their_own(starts):
    """A gain that the data do not tell from the colours."""

    def scaled(image, gain):
        return loss(gain * image, GOAL)

    found = sad.minimize_ensemble(
        scaled,
        starts,
        SHAPE,
        steps=3,
        optimizer=OPTIMIZER,
        params=jnp.float32(1.0),
        params_optimizer=optax.sgd(0.1),
    )
    assert len(np.unique(found.states.params)) == MEMBERS


@pytest.mark.slow
def test_members_that_are_lost_are_told_of_and_left_out(starts):
    broken = starts.replace(color=starts.color.at[1].set(jnp.nan))
    with pytest.warns(RuntimeWarning, match="expected finite losses, got 1 of 3 that are not"):
        found = sad.minimize_ensemble(loss, broken, SHAPE, GOAL, steps=1, optimizer=OPTIMIZER)
    assert np.isnan(found.losses).tolist() == [False, True, False]
    others = np.asarray(found.pictures, np.float64)[[0, 2]]
    np.testing.assert_allclose(found.mean, others.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std, others.std(0, ddof=1), atol=1e-5)
    lost = starts.replace(color=starts.color * jnp.nan)
    with pytest.raises(ValueError, match=r"expected finite losses, got 3 of 3 .*; lower the opt"):
        sad.minimize_ensemble(loss, lost, SHAPE, GOAL, steps=1, optimizer=OPTIMIZER)


def test_starts_without_an_axis_of_members_are_refused(starts):
    for wrong in (member(starts, 0), None, jax.tree.map(lambda a: a[:0], starts)):
        with pytest.raises(ValueError, match="expected Sites with a leading axis of members"):
            sad.minimize_ensemble(loss, wrong, SHAPE, GOAL)
    with pytest.raises(ValueError, match="expected num_sites of at least the 5 sites given, got 4"):
        sad.minimize_ensemble(loss, starts, SHAPE, GOAL, num_sites=4)
