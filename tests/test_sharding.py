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
pytestmark = pytest.mark.xdist_group("sharding")  # the fits of one device are made once


def start(job: str, out: Path, devices: int, *rest: object) -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-W", "error", PROGRAM, job, out, *map(str, rest)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors


def assert_equal(found, expected, room: float = 1e-5) -> None:
    """Alike to ``room``; conjugate gradients of Gauss-Newton enlarge what sums differ by."""
    for name, value in expected.items():
        value = np.asarray(value)
        if name.endswith("ids"):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
            continue
        scale = max(np.abs(value).max(), 1e-6) * (10 if name.endswith("by Newton") else 1)
        np.testing.assert_allclose(found[name], value, atol=room * scale, err_msg=name)


@pytest.mark.slow
def test_four_devices_equal_one(tmp_path):
    """Rows of cells that four do not divide; what is random is so by its place alone."""
    four = start("steps+propagation+fits", tmp_path / "a.npz", 4)
    expected = sharded.steps(None) | sharded.lists_by_propagation(None)
    alone = sharded.fits(None)
    finish(four)
    found = np.load(tmp_path / "a.npz")
    assert (found["devices"], found["processes"]) == (4, 1)
    assert found["programs"] == 3  # of "fast" with shorter and whole lists, to encode in "paper"
    assert_equal(found, expected)
    assert found["fast"].tobytes() == found["of a file"].tobytes()
    assert found["rows read"].tolist() == [[0, 8], [8, 16], [16, 24], [24, 27]]  # cells of 2
    for name in ("fast", "paper"):
        assert_equal(found, {f"{name} history": alone[f"{name} history"]}, room=5e-3)
        np.testing.assert_allclose(found[f"{name} psnr"], alone[f"{name} psnr"], atol=0.1)


@pytest.mark.slow
def test_a_fit_of_two_processes_goes_on_in_one(tmp_path):
    """Each process has a strip of the picture; what they have found is that of one device."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    out = tmp_path / "b.npz"
    np.save(tmp_path / "b.npz.npy", sharded.picture())
    both = [start("interrupted", out, 2, address, 2, rank) for rank in range(2)]
    mask = np.ones((28, 19), np.float32)
    mask[3:6, 2:7] = 0
    given = {"key": jax.random.key(sharded.SEED), "mask": mask}
    unbroken = sad.fit(sharded.picture(), sharded.CONFIG, **given)
    finish(*both)
    found = np.load(out)
    assert (found["devices"], found["processes"]) == (4, 2)
    assert found["steps"] == sharded.STOP
    resumed = sad.fit(
        sharded.picture(), sharded.CONFIG, **given, checkpoint=f"{out}.ckpt", resume=True
    )
    assert resumed.history["step"] == unbroken.history["step"]
    assert resumed.psnr == pytest.approx(unbroken.psnr, abs=0.03)


def test_a_mesh_of_one_device_changes_nothing(make_sites):
    """With a cell of two pixels that the height does not fill."""
    sites, mesh = make_sites(9), sad.sharding.make_mesh(jax.devices()[:1])
    canvas = sad.Canvas((5, 7), k=3, cell=2)
    lists, alone = (sad.find_candidates(sites, canvas, mesh=m) for m in (mesh, None))
    np.testing.assert_array_equal(lists.ids, alone.ids)
    np.testing.assert_array_equal(sad.render(sites, lists), sad.render(sites, alone))


def test_meshes_that_do_not_fit_are_refused(make_sites):
    mesh = jax.make_mesh((1, 1), ("x", "y"))
    with pytest.raises(ValueError, match="expected a mesh of one automatic axis"):
        sad.find_candidates(make_sites(4), (3, 5), mesh=mesh)
    with pytest.raises(ValueError, match=r"expected a mesh .* got 4"):
        sad.fit(np.ones((4, 5)), key=jax.random.key(0), mesh=4)
    lists = sad.find_candidates(make_sites(4), (3, 5))
    mesh = sad.sharding.make_mesh(jax.devices()[:1])
    with pytest.raises(ValueError, match="expected near lists over the same mesh"):
        sad.find_candidates(make_sites(4), (3, 5), near=lists, mesh=mesh)


def test_a_fit_over_a_mesh_takes_no_option_of_a_picture_on_the_host():
    mesh = sad.sharding.make_mesh(jax.devices()[:1])
    photo, key = np.zeros((8, 8), np.float32), jax.random.key(0)
    for option, usual in {"supersampling": 1, "padded": False}.items():
        config = sad.FitConfig(num_sites=4, **{option: 2 if usual else True})
        with pytest.raises(
            ValueError, match=f"expected {option}={usual} for a picture over a mesh"
        ):
            sad.fit(photo, config, key=key, mesh=mesh)
