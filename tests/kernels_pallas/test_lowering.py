"""The kernels lowered for CUDA on a machine without a GPU, alone and chosen by platform."""

import re

import jax
import jax.numpy as jnp
import pytest

from experiments.gpu import compile_h200 as h200

LOWERED = {
    h200.render: ["sad_blend"],
    h200.gradient: ["sad_blend", "sad_sites"],
    h200.gradient_and_curvature: ["sad_blend", "sad_sites"],
    h200.change_of_picture: ["sad_blend"],
    h200.merge: ["sad_merge"],
    h200.search: ["sad_search"],
    h200.render_gradient: ["sad_blend", "sad_blend", "sad_sites"],
    h200.propagation: ["sad_merge"],
    h200.gauss_newton_step: ["sad_blend"] * 4 + ["sad_sites"] * 2,
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
