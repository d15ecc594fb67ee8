"""Sites: ranges, slots, order along the curve."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sad_jax as sad
from sad_jax.model.sites import PARKED_RADIUS, clamp, pad, park, unparked


def test_clamp_puts_every_field_into_its_range(make_sites):
    wild = jax.tree.map(lambda leaf: (leaf - 0.5) * 1e4, make_sites(50))
    wild = wild.replace(radius=np.where(np.arange(50) < 5, PARKED_RADIUS, wild.radius))
    tame = jax.tree.map(np.asarray, clamp(wild, (12, 16)))
    assert ((tame.position >= 0) & (tame.position <= [15, 11])).all()
    assert ((tame.color >= 0) & (tame.color <= 1)).all()
    assert ((tame.log_tau >= -2) & (tame.log_tau <= 12)).all()
    assert ((tame.log_aniso >= -4) & (tame.log_aniso <= 4)).all()
    np.testing.assert_array_equal(tame.radius[:5], np.full(5, PARKED_RADIUS, np.float32))
    assert ((tame.radius[5:] >= 1) & (tame.radius[5:] <= 512)).all()
    np.testing.assert_allclose(np.linalg.norm(tame.direction, axis=1), 1, rtol=1e-6)


def test_clamp_leaves_what_is_in_range(make_sites):
    sites = make_sites(50)
    for a, b in zip(jax.tree.leaves(clamp(sites, (12, 16))), jax.tree.leaves(sites), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_parked_sites_change_no_other_field(make_sites):
    sites = make_sites(5)
    parked = park(sites, np.asarray([1, 4]))
    assert (parked.radius[[1, 4]] == np.float32(PARKED_RADIUS)).all()
    np.testing.assert_array_equal(parked.radius[[0, 2, 3]], sites.radius[[0, 2, 3]])
    assert parked.position is sites.position


def test_padded_sites_keep_their_picture(make_sites):
    sites = make_sites(5)
    padded = pad(sites, 9)
    assert padded.num_sites == 9
    assert np.asarray(padded.alive).tolist() == [True] * 5 + [False] * 4
    for a, b in zip(jax.tree.leaves(padded), jax.tree.leaves(sites), strict=True):
        np.testing.assert_array_equal(a[:5], b)


def test_optimisers_see_no_parked_radius(make_sites):
    sites = make_sites(5)
    seen = unparked(pad(sites, 9))
    np.testing.assert_array_equal(seen.radius, [*sites.radius, 0, 0, 0, 0])
    np.testing.assert_array_equal(seen.position[:5], sites.position)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("field", ["radius", "color"])
def test_numbers_below_32_bits_are_refused_wherever_sites_come_in(make_sites, dtype, field):
    sites, lists = make_sites(5), sad.Candidates(jnp.zeros((6, 9, 5)), 0, sad.Canvas((6, 9)), 5)
    sites = sites.replace(**{field: jnp.asarray(getattr(sites, field), dtype)})
    key = jax.random.key(0)
    for use in (
        lambda: sad.render(sites, lists),
        lambda: sad.query(sites, lists, jnp.zeros((1, 2))),
        lambda: sad.owners(sites, (6, 9)),
        lambda: sad.resample(sites, lists, (3, 3)),
        lambda: sad.find_candidates(sites, (6, 9)),
        lambda: sad.seed_candidates(sites, (6, 9), key=key),
        lambda: sad.propagate(sites, lists, key=key),
        lambda: sad.make_state(sites, (6, 9), optax.sgd(0.1)),
        lambda: sad.minimize(jnp.mean, sites, (6, 9)),
        lambda: sad.encode(sites, (6, 9)),
        lambda: sad.find_candidates(sites, (6, 9), mesh=sad.sharding.make_mesh()),
    ):
        name = jnp.dtype(dtype).name
        with pytest.raises(ValueError, match=rf"expected sites in float32, .*, got {name}"):
            use()
