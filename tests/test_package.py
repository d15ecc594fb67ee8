"""What importing costs and touches, and what decoding needs."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sad_jax


def run(program: str, *options: str) -> str:
    command = [sys.executable, "-W", "error", *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_starts_no_backend_and_changes_no_setting():
    run(
        "import importlib, jax\n"
        "from jax._src import xla_bridge\n"
        "before = dict(jax.config.values)\n"
        "for name in ('kernels_cpu', 'kernels_pallas', 'sad_jax', 'sad_jax.cli', 'sad_jax.viz'):\n"
        "    importlib.import_module(name)\n"
        "    assert not xla_bridge._backends, (name, xla_bridge._backends)\n"
        "    after = {setting: jax.config.values[setting] for setting in before}\n"
        "    assert after == before, name\n"
    )


@pytest.mark.slow
def test_importing_every_name_starts_no_backend():
    run(
        "import sad_jax\n"
        "for name in sad_jax.__all__:\n"
        "    getattr(sad_jax, name)\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, xla_bridge._backends\n"
    )


@pytest.mark.parametrize("module", ["sad_jax", "sad_jax.cli"])
def test_names_are_imported_at_their_first_use(module):
    heavy = "('jax', 'numpy', 'optax', 'flax', 'PIL')"
    run(f"import sys, {module}\nassert not [m for m in {heavy} if m in sys.modules]\n")


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert sad_jax.__version__ == project["version"]


def test_everything_in_all_is_there():
    for name in sad_jax.__all__:
        assert getattr(sad_jax, name).__doc__, name
    assert sorted(sad_jax.__all__) == sad_jax.__all__
    assert set(sad_jax.__all__) <= set(dir(sad_jax))
    with pytest.raises(AttributeError, match="nothing"):
        sad_jax.nothing  # noqa: B018


@pytest.mark.slow
def test_decoding_needs_no_optimiser(tmp_path, make_sites):
    """A decoder imports neither an optimiser, nor networks, nor our own fit."""
    path = tmp_path / "a.sad"
    sad_jax.save(path, make_sites(5), (6, 9))
    out = run(
        "import sys, sad_jax as sad\n"
        f"sites, canvas = sad.load({str(path)!r})\n"
        "print(sad.render(sites, canvas).shape)\n"
        "unwanted = ('optax', 'flax', 'orbax', 'kernels_pallas')\n"
        "unwanted += ('sad_jax.optimize', 'sad_jax.fitting')\n"
        "assert not [m for m in unwanted if m in sys.modules], sys.modules.keys()\n"
    )
    assert out.strip() == "(6, 9, 3)"
