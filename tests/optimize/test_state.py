"""State and Progress: one of a fit, of a minimisation, and a batch of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad

SHAPE = (6, 9)


@pytest.fixture
def states(make_sites) -> list[sad.State]:
    """Of 5 and of 7 sites in 9 slots."""
    make = lambda n: sad.make_state(make_sites(n, shape=SHAPE), SHAPE, sad.adam(), capacity=9)  # noqa: E731
    return [make(5), make(7)]


def test_a_state_counts_its_living_sites(states):
    assert [state.num_sites for state in states] == [5, 7]
    assert [state.compact().num_sites for state in states] == [5, 7]
    assert isinstance(states[0].num_sites, int)
    assert np.isnan(states[0].value)
    assert states[0].value.dtype == np.float32


def test_a_batch_of_states_says_what_it_is(states):
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    assert batch.num_sites.tolist() == [5, 7]
    with pytest.raises(ValueError, match=r"expected one state, got a batch of shape \(2,\)"):
        batch.compact()
    one = jax.tree.map(lambda leaf: leaf[1], batch)
    np.testing.assert_array_equal(one.compact().position, states[1].compact().position)


def test_progress_of_one_and_of_many(states):
    one = sad.Progress(3, 10, 1.5, states[0].replace(value=jnp.float32(0.01)))
    assert (one.step, one.steps, one.seconds, one.num_sites) == (3, 10, 1.5, 5)
    assert one.value == pytest.approx(0.01)
    assert one.psnr == pytest.approx(20)
    np.testing.assert_array_equal(one.image(), sad.render(states[0].sites, SHAPE))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    many = sad.Progress(3, 10, 1.5, batch.replace(value=jnp.asarray([0.1, 0.001])))
    np.testing.assert_allclose(many.psnr, [10, 30], rtol=1e-6)
    np.testing.assert_allclose(many.value, [0.1, 0.001])
    assert many.num_sites.tolist() == [5, 7]
