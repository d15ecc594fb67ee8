"""shard_map with its default checks, over automatic and explicit axes."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import mapped

PROGRAM = Path(__file__).with_name("mapped.py")


@pytest.fixture(scope="module")
def functions():
    return mapped.problem()


@pytest.mark.parametrize("kind", jax.sharding.AxisType.__members__.values())
def test_every_function_can_be_mapped_over_devices(functions, kind):
    """Traced for four devices, which need not be there."""
    if kind == jax.sharding.AxisType.Manual:
        pytest.skip("within shard_map alone")
    mesh = jax.sharding.AbstractMesh((mapped.DEVICES,), ("d",), (kind,))
    spread = jax.NamedSharding(mesh, jax.P("d"))
    for name, (function, arguments) in functions.items():
        laid = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=spread), arguments
        )
        try:
            found = jax.eval_shape(mapped.over(mesh, function, laid)[0], *laid)
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from error
        expected = jax.eval_shape(jax.vmap(function), *arguments)
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), found, expected)
        assert all(jax.tree.leaves(same)), name


@pytest.mark.slow
def test_four_devices_find_what_one_finds():
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
