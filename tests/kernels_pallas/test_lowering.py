"""The kernels lowered for CUDA on a machine without a GPU, alone and chosen by platform."""

import re
import sys
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jaxlib.triton import dialect

import sad_jax as sad
from experiments.gpu import compile_h200 as h200
from kernels_pallas import Launch
from sad_jax.backend import Backend

# MLIR's search for Triton's dialect fails for every operation anew; where it succeeds, it is done
sys.modules.setdefault("jaxlib.mlir.dialects.tt", dialect)

LOWERED = {
    h200.render: ["sad_blend"],
    h200.gradient: ["sad_blend", "sad_sites"],
    h200.gradient_and_curvature: ["sad_blend", "sad_sites"],
    h200.change_of_picture: ["sad_blend"],
    h200.merge: ["sad_merge"],
    h200.search: ["sad_search"],
    h200.render_gradient: ["sad_blend", "sad_blend", "sad_sites"],
    h200.propagation: ["sad_merge"],
    h200.gauss_newton_step: ["sad_blend"] * 3 + ["sad_sites"] * 2,
    h200.adam_step: ["sad_blend", "sad_merge", "sad_sites"],
}


def kernels_in(lowered) -> list[str]:
    """The names of the kernels in a lowered function, each as often as it is called."""
    return sorted(re.findall(r'name = "(sad_\w+)", num_stages', lowered.as_text()))


@pytest.mark.parametrize("function", LOWERED, ids=lambda function: function.__name__)
def test_kernels_are_lowered_for_cuda(function):
    """Render, its gradient, the passes, propagation, and whole steps of both recipes."""
    lowered = h200.lower(function, h200.Case(cell=2).make())
    assert kernels_in(lowered) == sorted(LOWERED[function])


def test_a_batch_is_lowered_for_cuda():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), h200.Case().make())
    lowered = h200.lower(jax.vmap(h200.render_gradient), batch)
    assert kernels_in(lowered) == LOWERED[h200.render_gradient]


@pytest.mark.parametrize("option", ["cells of 4", "gathered outside", "K = 32", "8 channels"])
def test_options_are_lowered_for_cuda(option):
    lowered = h200.lower(h200.gradient, h200.CASES[option].make())
    assert kernels_in(lowered) == ["sad_blend", "sad_sites"]


def test_atomic_additions_are_lowered_for_cuda():
    lowered = h200.lower(h200.gradient, h200.CASES[h200.ATOMIC].make())
    assert kernels_in(lowered) == ["sad_slots"]


BY_PLATFORM = Backend("by_platform", Launch())


def drawing(backend, sites, lists):
    return sad.render(sites, lists, implementation=backend)


def slope(backend, sites, lists):
    return jax.grad(lambda sites: jnp.sum(drawing(backend, sites, lists) ** 2))(sites)


def descent(backend, sites, lists):
    """A scan over steps, each with a gradient, and a picture beside it."""

    def step(sites, _):
        gradient = slope(backend, sites, lists)
        moved = jax.tree.map(lambda a, g: a - 1e-3 * g, sites, gradient)
        return moved, jnp.sum(drawing(backend, sites, lists))

    return jax.lax.scan(step, sites, None, length=3)


def search(backend, sites, lists):
    return sad.find_candidates(sites, lists.canvas, implementation=backend).ids


def propagation(backend, sites, lists):
    return sad.propagate(sites, lists, key=jax.random.key(0), implementation=backend).ids


def batch_of(function):
    """Over sites and lists alike."""

    def batch(backend, *arguments):
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), arguments)
        return jax.vmap(partial(function, backend))(*stacked)

    return batch


CHOSEN = {
    "jit": (drawing, ["sad_blend"]),
    "grad": (slope, ["sad_blend", "sad_blend", "sad_sites"]),
    "scan": (descent, ["sad_blend", "sad_blend", "sad_blend", "sad_sites"]),
    "vmap": (batch_of(drawing), ["sad_blend"]),
    "vmap of scan": (batch_of(descent), ["sad_blend", "sad_blend", "sad_blend", "sad_sites"]),
    "search": (search, ["sad_search"]),
    "vmap of search": (batch_of(search), ["sad_search"]),
    "propagation": (propagation, ["sad_merge"]),
}


@pytest.fixture
def diagram(make_sites, reference):
    """Sites and lists."""
    sites = jax.tree.map(jnp.asarray, make_sites(10, 3, (9, 12)))
    return sites, reference.lists(sites, (9, 12))


@pytest.mark.parametrize("name", CHOSEN)
def test_each_platform_gets_its_own(diagram, name):
    """Chosen when a program is lowered: the kernels for CUDA, no trace of them for a CPU."""
    function, kernels = CHOSEN[name]
    chosen = partial(function, BY_PLATFORM)
    on_a_cpu = jax.jit(chosen).trace(*diagram).lower(lowering_platforms=("cpu",))
    assert "sad_" not in on_a_cpu.as_text()
    assert kernels_in(h200.lower(chosen, diagram)) == kernels


@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "cuda")])
@pytest.mark.parametrize("name", ["jit", "grad", "scan", "vmap"])
def test_an_exported_program_draws_as_xla_does(diagram, assert_same, name, platforms):
    """Exported for a CPU, alone or with CUDA, and called here; kernels' exp is less exact."""
    function, _ = CHOSEN[name]
    allowed = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    program = jax.jit(partial(function, BY_PLATFORM))
    exported = jax.export.export(program, platforms=platforms, disabled_checks=allowed)(*diagram)
    kernels = jax.default_backend() == "gpu" and "cuda" in platforms
    with nullcontext() if kernels else jax.default_device(jax.devices("cpu")[0]):
        expected = jax.jit(partial(function, Backend("xla_vjp")))(*diagram)
        assert_same(exported.call(*diagram), expected, 1e-5 if kernels else 1e-6)


@pytest.mark.h200
@pytest.mark.filterwarnings("default")  # the plugin finds no driver, and says so
@pytest.mark.parametrize(("option", "function"), h200.WORK)
def test_no_kernel_spills_registers_on_an_h200(option, function):
    h200.compile_h200(function, h200.CASES[option].make(), **h200.FAIL_ON_SPILLS)


@pytest.mark.h200
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("function", h200.STEPS, ids=lambda function: function.__name__)
def test_whole_steps_compile_for_an_h200(function):
    h200.compile_h200(function, h200.Case().make(), **h200.FAIL_ON_SPILLS)
