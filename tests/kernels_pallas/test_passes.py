"""The passes over a picture by kernels, interpreted, and by the CPU engine: their XLA twin's."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.backend import Backend

CASES = [  # shape, sites, channels, K, cell
    ((1, 1), 1, 3, 8, 1),
    ((1, 37), 5, 1, 8, 2),
    ((13, 10), 30, 3, 8, 4),
    ((11, 14), 40, 4, 1, 2),
    ((9, 14), 60, 5, 32, 1),
    ((25, 31), 40, 5, 3, 4),
    ((7, 9), 20, 6, 4, 1),
]
TWIN = Backend("xla_vjp")
ROUNDING = 1e-4  # of weights: scores of sites this sharp are some hundreds, in float32


QUICK = [("pull back", CASES[0], True), ("gradient", CASES[1], False)]
QUICK_IN_C = [
    ("pull back", CASES[1], True),
    ("curvature", CASES[0], True),
    ("change", CASES[3], True),
    ("changes", CASES[1], True),
]
SLOW = [
    *(("pull back", case, True) for case in CASES[2:6]),
    ("pull back", CASES[5], False),
    ("curvature", CASES[3], False),
    ("curvature", CASES[6], True),  # more sums than a kernel holds at once
    ("changes", CASES[6], False),
    ("colors", CASES[3], True),
    ("statistics", CASES[3], True),
]


def by_engine(engine: str, quick: list, slow: list) -> list:
    """What a test takes: an engine and a case."""
    marked = [pytest.param(engine, *case, marks=pytest.mark.slow) for case in slow]
    return [(engine, *case) for case in quick] + marked


@pytest.mark.parametrize(
    ("engine", "name", "case", "deterministic"),
    by_engine("pallas", QUICK, QUICK_IN_C + SLOW) + by_engine("cpu", QUICK + QUICK_IN_C, SLOW),
    indirect=["engine"],
)
def test_engines_equal_the_xla_twin(
    make_case, run_pass, reference, assert_same, engine, name, case, deterministic
):
    """Values and gradients: element by element, by cosine and by relative norm."""
    arguments = make_case(*case)
    backend = dataclasses.replace(engine, deterministic=deterministic)
    found = run_pass(*arguments, name=name, backend=backend)
    assert_same(found, run_pass(*arguments, name=name, backend=TWIN), ROUNDING)
    if name == "pull back":
        np.testing.assert_allclose(found[0], reference.render(*arguments[:2]), atol=2e-4)


@pytest.mark.parametrize("loss", ["huber", pytest.param("cauchy", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["change", "gradient"])
def test_robust_losses_are_those_of_the_twin(make_case, run_pass, assert_same, engine, loss, name):
    case = make_case(*CASES[1])
    found = run_pass(*case, name=name, backend=engine, loss=loss)
    assert_same(found, run_pass(*case, name=name, backend=TWIN, loss=loss), ROUNDING)


def test_a_batch_equals_a_loop(make_sites, make_case, run_pass, assert_same, engine):
    cases = [make_case((6, 9), 12, 3, 4, 1) for _ in range(2)]
    cases[1] = (make_sites(12, 3, (6, 9), seed=7), *cases[1][1:])
    one = partial(run_pass, name="pull back", backend=engine)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    together = jax.jit(jax.vmap(one))(*stacked)
    for i, case in enumerate(cases):
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], together), one(*case), 1e-4)


def test_engines_run_inside_scan_and_checkpoint(make_case, assert_same, engine):
    sites, lists, image, *_ = make_case((6, 9), 12, 3, 4, 1)

    @partial(jax.jit, static_argnums=0)
    def descend(implementation):
        def loss(sites):
            picture = sad.render(sites, lists, implementation=implementation)
            return jnp.sum((picture - image) ** 2)

        def step(sites, _):
            slope = jax.grad(jax.checkpoint(loss))(sites)
            return jax.tree.map(lambda a, g: a - 1e-3 * g, sites, slope), loss(sites)

        return jax.lax.scan(step, jax.tree.map(jnp.asarray, sites), None, length=2)

    assert_same(descend(engine), descend("xla"), 1e-4)


def test_engines_have_no_second_derivative(make_sites, reference, engine):
    sites = make_sites(4)
    lists = reference.lists(sites, (3, 3))
    slope = jax.grad(lambda s: jnp.sum(sad.render(s, lists, implementation=engine) ** 2))
    with pytest.raises(TypeError, match=r'expected implementation="xla" .* got (a|the) \w+'):
        jax.jvp(slope, (sites,), (sites,))
