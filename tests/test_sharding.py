"""Bands over devices and processes against the whole picture on one device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import sad_jax as sad

sys.path.insert(0, str(Path(__file__).parent))
import sharded

PROGRAM = Path(__file__).with_name("sharded.py")


def unsplit(canvas: str) -> dict[str, np.ndarray]:
    """The same on one device."""
    found = sharded.run(canvas, sad.find_candidates, sad.render)
    return {name: np.asarray(value) for name, value in found.items()}


def start(out: Path, canvas: str, devices: int, *job: object) -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", PROGRAM, out, canvas, *map(str, job)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


def assert_equal(found, expected) -> None:
    for name, value in expected.items():
        scale = max(np.abs(value).max(), 1e-6)
        np.testing.assert_allclose(found[name], value, atol=1e-4 * scale, err_msg=name)
        if name == "ids":
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.slow
def test_bands_over_three_devices_equal_the_whole_picture(tmp_path):
    """Cells of two pixels; their rows are cut into columns, which three does not divide."""
    finish(start(tmp_path / "a.npz", "portrait", 3))
    found = np.load(tmp_path / "a.npz")
    assert (found["devices"], found["processes"]) == (3, 1)
    assert_equal(found, unsplit("portrait"))


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    finish(*(start(tmp_path / "b.npz", "landscape", 1, address, 2, rank) for rank in range(2)))
    found = np.load(tmp_path / "b.npz")
    assert (found["devices"], found["processes"]) == (2, 2)
    assert_equal(found, unsplit("landscape"))


def test_meshes_that_do_not_fit_are_refused(make_sites):
    mesh = jax.make_mesh((1, 1), ("x", "y"))
    with pytest.raises(ValueError, match="expected a mesh of one automatic axis"):
        sad.sharding.find_candidates(make_sites(4), (3, 5), mesh=mesh)
