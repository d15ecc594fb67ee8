"""The members of tiles: that nothing of the lists is lost, doubled or moved on the way."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.backend import Backend
from sad_jax.draw.passes import prepare
from sad_jax.optimize import least_squares

TWIN = Backend("xla_vjp")


@pytest.fixture
def loose(make_case, cpu_engine):
    """Lists that neighbours do not share, some sites twice in a list: what ``run_pass`` takes."""

    def make(shape, n, channels, k, cell):
        sites, lists, *rest = make_case(shape, n, channels, k, cell)
        rng = np.random.default_rng(3)
        ids = jnp.asarray(rng.integers(0, n, lists.ids.shape), jnp.int32)
        return sites, lists.replace(ids=ids), *rest

    return make


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (((9, 19), 7, 3, 8, 1), "pull back"),
        (((35, 3), 40, 3, 4, 1), "gradient"),
        (((6, 37), 9, 1, 3, 2), "curvature"),
        (((5, 18), 300, 5, 32, 1), "statistics"),
    ],
)
def test_lists_of_any_sites_give_what_the_twin_gives(
    loose, run_pass, assert_same, cpu_engine, case, name
):
    arguments = loose(*case)
    found = run_pass(*arguments, name=name, backend=cpu_engine)
    assert_same(found, run_pass(*arguments, name=name, backend=TWIN), 1e-4)


def test_rows_that_go_on_in_the_next_block_are_drawn(make_sites, cpu_engine, assert_same):
    """More cells than a block holds, and a width that no block is a multiple of."""
    sites, shape = make_sites(30, 3, (97, 91)), (97, 91)
    assert sad.Canvas(shape).grid.blocks == 2
    lists = sad.find_candidates(sites, sad.Canvas(shape, k=4), implementation=cpu_engine)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(*shape, 3)), jnp.float32)

    @partial(jax.jit, static_argnums=0)
    def value_and_slope(backend):
        error = lambda s: jnp.sum((sad.render(s, lists, implementation=backend) - image) ** 2)  # noqa: E731
        return sad.render(sites, lists, implementation=backend), jax.grad(error)(sites)

    assert_same(value_and_slope(cpu_engine), value_and_slope(TWIN), 1e-4)


def test_prepared_lists_change_no_bit(make_case, cpu_engine):
    sites, lists, image, weight, _ = make_case((21, 34), 60, 3, 8, 1)
    target = least_squares.make_target(lists.grid, image, weight, backend=cpu_engine)
    prepared = prepare(cpu_engine, sites, lists)
    assert prepared.prepared.shape == (21, 34, 18)
    assert prepare(cpu_engine, sites, prepared) is prepared
    gradient = jax.jit(least_squares.gradient)
    for alone, shared in zip(
        *(jax.tree.leaves(gradient(sites, lists, target)) for lists in (lists, prepared)),
        strict=True,
    ):
        np.testing.assert_array_equal(alone, shared)


def test_a_pixel_depends_on_its_own_list_alone(make_sites, cpu_engine):
    """To the last bit: a part of a picture is what the whole shows there."""
    sites, shape = make_sites(50, 3, (40, 37)), (40, 37)
    lists = sad.find_candidates(sites, shape, implementation=cpu_engine)
    whole = sad.render(sites, lists, implementation=cpu_engine)
    others = lists.ids.at[:, 17:].set(lists.ids[::-1, 17:])  # beside, and in another order
    beside = sad.render(sites, lists.replace(ids=others), implementation=cpu_engine)
    np.testing.assert_array_equal(beside[:, :17], whole[:, :17])
