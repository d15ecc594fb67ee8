"""JAX's transformations through query, owners and the lists; render's are in test_render.py."""

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad

SHAPE = (6, 9)


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def in_float64(make_sites, reference):
    sites = reference.double(make_sites(6, 2, SHAPE))
    return sites, reference.lists(sites, SHAPE, k=4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("use", ["render", "query"])
def test_jvp_equals_finite_differences_and_the_hessian_is_symmetric(make_sites, reference, use):
    sites, lists = in_float64(make_sites, reference)
    points = np.asarray([[0.3, 1.2], [7.9, 4.4], [4.0, 3.0]])
    flat, restore = jax.flatten_util.ravel_pytree(sites)
    vector = np.random.default_rng(0).normal(size=flat.shape)

    @jax.jit
    def draw(v):
        if use == "query":
            return sad.query(restore(v), lists, points)
        return sad.render(restore(v), lists, implementation="xla")

    _, tangent = jax.jvp(draw, (flat,), (vector,))
    difference = (draw(flat + 1e-6 * vector) - draw(flat - 1e-6 * vector)) / 2e-6
    np.testing.assert_allclose(tangent, difference, rtol=1e-5, atol=1e-7)
    hessian = jax.jit(jax.hessian(lambda v: jnp.sum(draw(v) ** 2)))(flat)
    assert np.abs(hessian).max() > 1e-3
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-9 * np.abs(hessian).max())


def test_forward_mode_of_the_default_equals_that_of_xla(make_sites, reference, assert_same):
    """Alone, mapped, and through a jitted scan: the hand-written reverse pass stands in no way."""
    sites = make_sites(5, shape=SHAPE)
    lists = reference.lists(sites, SHAPE)
    change = jax.tree.map(lambda leaf: jnp.asarray(np.cos(7 * leaf)), sites)
    twice = stack([change, jax.tree.map(jnp.negative, change)])

    def tangents(sites, change, implementation):
        draw = jax.jit(partial(sad.render, lists=lists, implementation=implementation))
        push = lambda change: jax.jvp(draw, (sites,), (change,))[1]  # noqa: E731
        again = lambda sites: jax.lax.scan(lambda s, _: (s, draw(s)), sites, None, length=1)[1]  # noqa: E731
        return push(change), jax.vmap(push)(twice), jax.jvp(again, (sites,), (change,))[1]

    run = jax.jit(tangents, static_argnums=2)
    assert_same(run(sites, change, None), run(sites, change, "xla"), 1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_second_derivatives_of_the_default_agree_in_every_order(make_sites, reference, assert_same):
    sites, lists = in_float64(make_sites, reference)
    change = jax.tree.map(lambda leaf: jnp.asarray(np.cos(7 * leaf)), sites)
    inner = lambda a, b: sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))  # noqa: E731

    def products(implementation):
        loss = lambda s: jnp.sum(sad.render(s, lists, implementation=implementation) ** 2)  # noqa: E731
        push = lambda f: lambda s: jax.jvp(f, (s,), (change,))[1]  # noqa: E731
        reverse_twice = jax.grad(lambda s: inner(jax.grad(loss)(s), change))
        return push(jax.grad(loss))(sites), jax.grad(push(loss))(sites), reverse_twice(sites)

    run = jax.jit(products, static_argnums=0)
    expected = run("xla")
    assert_same(run(None), expected, 1e-8)
    assert_same(expected[1:], (expected[0], expected[0]), 1e-8)


def test_a_mapped_gradient_is_the_gradient_of_a_map(make_sites, reference, assert_same):
    batch = [make_sites(5, shape=SHAPE, seed=seed) for seed in range(2)]
    lists = stack([reference.lists(sites, SHAPE, k=4) for sites in batch])
    loss = lambda sites, lists: jnp.sum(sad.render(sites, lists) ** 2)  # noqa: E731
    total = lambda sites: jnp.sum(jax.vmap(loss)(sites, lists))  # noqa: E731
    both = jax.jit(lambda sites: (jax.grad(total)(sites), jax.vmap(jax.grad(loss))(sites, lists)))
    assert_same(*both(stack(batch)), 1e-6)


@pytest.mark.slow
def test_batches_of_lists_queries_and_owners_equal_a_loop(make_sites, reference):
    batch = [make_sites(12, shape=SHAPE, seed=seed) for seed in range(3)]
    points = jnp.asarray(np.random.default_rng(0).uniform(0, 5, (3, 4, 2)), jnp.float32)

    def everything(sites, points):
        lists = sad.find_candidates(sites, SHAPE, k=4)
        colors = sad.query(sites, lists, points)
        return lists.ids, sad.owners(sites, lists), colors, sad.render(sites, lists)

    ids, owners, colors, pictures = jax.jit(jax.vmap(everything))(stack(batch), points)
    for i, sites in enumerate(batch):
        expected = everything(sites, points[i])
        np.testing.assert_array_equal(ids[i], expected[0])
        np.testing.assert_array_equal(owners[i], expected[1])
        np.testing.assert_allclose(colors[i], expected[2], atol=1e-5)
        np.testing.assert_allclose(pictures[i], expected[3], atol=1e-5)


@pytest.mark.slow
def test_no_gradient_flows_through_owners_or_lists(make_sites):
    sites = make_sites(12, shape=SHAPE)

    def loss(sites):
        lists = sad.find_candidates(sites, SHAPE)
        return jnp.sum(sites.color[sad.owners(sites, lists)] ** 2)

    gradient = jax.jit(jax.grad(loss))(sites)
    owner = np.asarray(sad.owners(sites, SHAPE))
    count = np.bincount(owner.ravel(), minlength=12)
    np.testing.assert_allclose(gradient.color, 2 * sites.color * count[:, None], rtol=1e-5)
    for name in ("position", "log_tau", "radius", "direction", "log_aniso"):
        np.testing.assert_array_equal(getattr(gradient, name), 0)


def test_query_runs_inside_scan_with_its_gradient(make_sites):
    sites = make_sites(12, shape=SHAPE)
    lists = sad.find_candidates(sites, SHAPE)
    points = jnp.asarray(np.random.default_rng(0).uniform(0, 5, (3, 4, 2)), jnp.float32)
    total = lambda sites, points: jnp.sum(sad.query(sites, lists, points) ** 2)  # noqa: E731

    def scanned(sites):
        add = lambda carry, points: (carry + total(sites, points), None)  # noqa: E731
        return jax.lax.scan(add, 0.0, points)[0]

    found = jax.jit(jax.value_and_grad(scanned))(sites)
    expected = jax.value_and_grad(lambda sites: sum(total(sites, p) for p in points))(sites)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
