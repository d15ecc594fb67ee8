"""shard_map with its default checks, over automatic and explicit axes."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import sad_jax as sad

sys.path.insert(0, str(Path(__file__).parent))
import mapped

PROGRAM = Path(__file__).with_name("mapped.py")
QUICK = ("gradient", "find")


@pytest.fixture(scope="module")
def made() -> dict:
    """The shapes of what the functions take."""
    return jax.eval_shape(mapped.arguments, mapped.KEYS)


def names() -> list:
    marks = {name: () if name in QUICK else pytest.mark.slow for name in mapped.FUNCTIONS}
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]


@pytest.mark.parametrize("name", names())
def test_functions_can_be_mapped_over_devices(name, made):
    """Traced for four devices, which need not be there."""
    function, arguments = mapped.named(name, made)
    for kind in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit):
        mesh = jax.sharding.AbstractMesh((mapped.DEVICES,), ("d",), (kind,))
        spread = partial(jax.ShapeDtypeStruct, sharding=jax.NamedSharding(mesh, jax.P("d")))
        laid = jax.tree.map(lambda leaf: spread(leaf.shape, leaf.dtype), arguments)  # noqa: B023
        found = jax.eval_shape(mapped.over(mesh, function), *laid)
        assert all(leaf.shape[0] == mapped.DEVICES for leaf in jax.tree.leaves(found))


def test_what_is_cut_along_explicit_axes_outside_of_it_is_refused(made):
    mesh = jax.sharding.AbstractMesh((2,), ("d",), (jax.sharding.AxisType.Explicit,))
    spread = partial(jax.ShapeDtypeStruct, sharding=jax.NamedSharding(mesh, jax.P("d")))
    one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
    sites, lists = jax.tree.map(one, mapped.named("render", made)[1])
    cut = jax.tree.map(lambda leaf: spread(leaf.shape, leaf.dtype), sites)
    cut_lists = lists.replace(ids=spread(lists.ids.shape, np.int32))
    for function, arguments in (
        (partial(sad.find_candidates, canvas=mapped.SHAPE), (cut,)),
        (sad.render, (sites, cut_lists)),
        (jax.grad(lambda sites: sad.render(sites, mapped.SHAPE).sum()), (cut,)),
    ):
        with pytest.raises(ValueError, match=r"expected (sites|lists) whole .* explicit axes d"):
            jax.eval_shape(function, *arguments)


@pytest.mark.usefixtures("cpu_engine")
def test_what_the_engine_finds_varies_as_its_arrays_do(made):
    (sites, lists), found = mapped.named("render", made)[1], []

    def render(sites, lists):
        image = sad.render(sites, lists, implementation="cpu")
        ids = sad.find_candidates(sites, mapped.SHAPE, implementation="cpu").ids
        found.extend(jax.typeof(array).manual_axis_type.varying for array in (image, ids))
        return image

    mesh = jax.sharding.AbstractMesh((mapped.DEVICES,), ("d",))
    jax.eval_shape(mapped.over(mesh, render), sites, lists)
    assert found == [{"d"}, {"d"}]


@pytest.mark.slow
def test_four_devices_find_what_one_finds():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
