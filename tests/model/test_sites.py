"""Sites: ranges, slots, order along the curve."""

import jax
import numpy as np

from sad_jax.model.sites import PARKED_RADIUS, clamp, pad, park


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
