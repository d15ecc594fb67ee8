"""Inverse problems: scripts run, operators have adjoints, what knows the problem does its part."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PHOTO = "tests/data/kodim23_half.png"
pytest.importorskip("skimage")


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["superres", "multiframe", "registration"])
def test_a_script_writes_its_table_and_its_picture(name, tmp_path):
    """As a user runs it, with a few steps."""
    command = [sys.executable, "-m", f"experiments.inverse.{name}", "--small", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / f"inverse_{name}.json").read_text())
    assert (tmp_path / f"inverse_{name}.png").stat().st_size > 10_000
    assert f"experiments.inverse.{name}" in report["command"]
    for row in report["rows"]:
        assert 10 < row["psnr"] < 50 if "psnr" in row else 0 < row["error"] < 3, row
        if "coverage" in row:
            assert (np.diff(row["coverage"]) >= 0).all()
            assert (np.diff(row["spreads"]) >= 0).all()


@pytest.mark.slow
@pytest.mark.usefixtures("at_root")
@pytest.mark.parametrize("name", ["mri", "demosaic", "multiframe", "hyperspectral", "blind"])
def test_operators_are_linear_and_the_truth_fits_the_data(name):
    module = import_module(f"experiments.inverse.{name}")
    first = {
        "mri": lambda: module.make(module.PHANTOMS["ellipses"], 0),
        "multiframe": lambda: module.make({}, PHOTO, 0),
        "hyperspectral": lambda: module.make(1, 0),
    }.get(name, lambda: module.make(PHOTO, 0))()
    assert first.start.shape == np.shape(first.truth)
    a, b = jax.random.normal(jax.random.key(0), (2, *first.start.shape))
    both = first.operator(2 * a - b)
    apart = 2 * first.operator(a) - first.operator(b)
    np.testing.assert_allclose(both, apart, atol=1e-3)
    back = jax.linear_transpose(first.operator, a)
    np.testing.assert_allclose(
        jnp.vdot(first.operator(a), both), jnp.vdot(a, back(both)[0]), rtol=1e-3
    )
    if name != "multiframe":  # there the operator has the shifts that were guessed
        error = jnp.sqrt(jnp.mean((first.operator(jnp.asarray(first.truth)) - first.data) ** 2))
        assert 0 < error < 1.1 * module.NOISE


@pytest.mark.slow
@pytest.mark.usefixtures("at_root")
def test_filters_know_a_flat_colour_and_projections_the_phase():
    demosaic = import_module("experiments.inverse.demosaic")
    flat = jnp.broadcast_to(jnp.asarray([0.2, 0.5, 0.7]), (demosaic.SIDE, demosaic.SIDE, 3))
    mask = jnp.asarray(demosaic.bayer(), jnp.float32)
    seen = demosaic.Problem(flat, None, mask * flat, flat, flat)
    for found in (demosaic.malvar(seen)[0], demosaic._bilinear(np.asarray(seen.data))):
        np.testing.assert_allclose(found, flat, atol=1e-5)
    phase = import_module("experiments.inverse.phase")
    problem = phase.make(PHOTO, 0)
    found = phase.projections(problem, phase.SETTINGS, 0)[0]
    assert problem.figures(found)["psnr"] > problem.figures(np.asarray(problem.start))["psnr"] + 2


@pytest.mark.slow
@pytest.mark.usefixtures("at_root")
def test_registration_finds_a_displacement_that_its_splines_can_be(monkeypatch):
    """Of a picture known at any point, within and without noise of the pair."""
    module = import_module("experiments.inverse.registration")
    along = 2 * np.pi * np.asarray([[0.03, 0.01], [-0.02, 0.05], [0.01, -0.04]])

    def sample(points):  # three waves, and their slopes
        return np.cos(points @ along.T), -np.sin(points @ along.T)[..., None] * along

    count = module.splines().shape[1]
    assert count == module.SIDE // module.SPACING + 4
    np.testing.assert_allclose(module.splines().sum(1), 1, atol=1e-12)
    truth = np.random.default_rng(0).uniform(-1, 1, (2, count, count))
    u = module.displacement(truth)
    target = sample(module.centres(0) + u)[0]
    monkeypatch.setattr(module, "BENDING", 1e-12)
    found = module.registered(sample, target, 0 * truth, 12)
    assert module.off(module.displacement(found), u) < 0.01

    monkeypatch.setattr(module, "NOISE", 0.0)
    a, b, u = module.pair(PHOTO, 3)
    assert np.hypot(u[..., 0], u[..., 1]).max() == pytest.approx(module.LARGEST, abs=0.1)
    inner = slice(module.MARGIN, -module.MARGIN)
    error = lambda u: np.mean((module.splined(a, module.centres(0) + u) - b)[inner, inner] ** 2)  # noqa: E731
    assert error(u) < 0.1 * error(0 * u)
    assert error(u) < 0.1 * error(-u)
