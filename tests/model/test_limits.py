"""Finite values whose exponentials and squares overflow: limits in memory, refused in files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model.sites import LIMITS
from sad_jax.storage import official

SHAPE = (6, 9)
HUGE = 3e38


def with_one(sites, name: str, value: float):
    """The sites, one of which has this value."""
    field = np.array(getattr(sites, name))
    field[7] = value
    return sites.replace(**{name: field})


@pytest.fixture(scope="module")
def used():
    """Lists, picture and far points, as one program."""

    @jax.jit
    def use(sites):
        lists = sad.find_candidates(sites, SHAPE)
        return lists.ids, [sad.render(sites, lists), sad.query(sites, lists, FAR)]

    return use


FAR = jnp.asarray([[1e30, 2.0], [-3e38, 1e38], [jnp.inf, -jnp.inf]])


def test_no_value_of_a_site_spoils_a_picture(make_sites, used):
    sites = make_sites(12, shape=SHAPE)
    values = [(name, sign * HUGE) for name in LIMITS for sign in (1, -1)]
    for name, value in [*values, ("log_tau", 89.0), ("log_aniso", 178.0)]:
        ids, results = used(with_one(sites, name, value))
        assert (np.diff(np.sort(ids, -1)) > 0).all(), (name, value)
        assert ids.min() >= 0, (name, value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results)), (name, value)


def test_a_direction_of_any_length_is_one(make_sites, reference):
    sites = make_sites(12, shape=SHAPE)
    longer = sites.replace(direction=(sites.direction * 1e37).astype(np.float32))
    lists = reference.lists(sites, SHAPE)
    np.testing.assert_allclose(sad.render(longer, lists), sad.render(sites, lists), atol=1e-4)


@pytest.mark.slow
def test_no_value_of_a_site_spoils_a_gradient(make_sites, reference):
    sites = make_sites(12, shape=SHAPE)
    lists = reference.lists(sites, SHAPE)
    slope = jax.jit(jax.grad(lambda sites: sad.render(sites, lists).sum()))
    for name in LIMITS:
        for leaf in jax.tree.leaves(slope(with_one(sites, name, HUGE))):
            assert np.isfinite(leaf).all(), name


def test_far_points_have_the_colour_of_their_nearest_site(make_sites, reference):
    sites = make_sites(12, shape=SHAPE)
    lists = reference.lists(sites, SHAPE)
    points = np.asarray([[1e30, 2], [1e30, 5e29], [-3e38, 1], [4, -1e20], [3000, 20]], np.float32)
    column, row = np.clip(np.floor(np.asarray(points, float) + 0.5), 0, [8, 5]).astype(int).T
    ids = np.asarray(lists.ids)[row, column]
    weights = reference.weights(sites, points, ids, 9)
    expected = np.einsum("mk,mkc->mc", weights, sites.color[ids])
    np.testing.assert_allclose(sad.query(sites, lists, points), expected, atol=1e-3)
    assert np.isnan(sad.query(sites, lists, jnp.full((1, 2), jnp.nan))).all()


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [HUGE, 1.01])
def test_files_refuse_what_the_model_cannot_compute(make_sites, monkeypatch, name, value):
    sites = make_sites(12, shape=SHAPE)
    value = value if value > 2 else value * LIMITS[name]
    bad = with_one(sites, name, np.float32(value))
    words = f"expected {name} of at most .* either way, got {value:g}"
    for write in (sad.encode, official.format_txt, official.format_json):
        with pytest.raises(ValueError, match=words.replace("+", r"\+")):
            write(bad, SHAPE)
    with monkeypatch.context() as patched:  # files that others wrote
        for module in (sad.storage.sad, official):
            patched.setattr(module, "check_values", lambda sites: None)
        files = sad.encode(bad, SHAPE), *(f(bad, SHAPE) for f in FORMS)
    for read, data in zip(
        (sad.decode, official.parse_txt, official.parse_json), files, strict=True
    ):
        with pytest.raises(ValueError, match=words.replace("+", r"\+")):
            read(data)
    assert sad.decode(sad.encode(with_one(sites, name, LIMITS[name]), SHAPE))[0].num_sites == 12


FORMS = (official.format_txt, official.format_json)
