"""Importing the package touches no device and changes no setting."""

import subprocess
import sys

import pytest

import sad_jax


def run(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["sad_jax", "sad_jax.cli", "sad_jax.viz", "kernels_pallas"])
def test_importing_starts_no_backend_and_changes_no_setting(module):
    run(
        "import jax\n"
        "from jax._src import xla_bridge\n"
        "before = dict(jax.config.values)\n"
        f"import {module}\n"
        "assert not xla_bridge._backends, xla_bridge._backends\n"
        "assert {name: jax.config.values[name] for name in before} == before\n"
    )


def test_everything_in_all_is_there():
    for name in sad_jax.__all__:
        assert getattr(sad_jax, name).__doc__, name
    assert sorted(sad_jax.__all__) == sad_jax.__all__


def test_the_renderer_knows_nothing_of_the_optimiser():
    """Decoding needs neither optax nor the fit."""
    out = run(
        "import sys\n"
        "import sad_jax.render\n"
        "from sad_jax.render import render\n"
        "print(render.__module__)\n"
    )
    assert out.strip() == "sad_jax.render"
