"""The CPU engine as it is found, chosen and refused; that threads do not change its bits."""

import os
import platform
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

import kernels_cpu
import sad_jax as sad
from sad_jax.backend import Backend, resolve

CHOSEN = Backend("cpu", chosen=True)


@pytest.mark.usefixtures("not_built")
def test_where_it_is_not_built_it_is_refused_in_one_line(make_sites):
    with pytest.raises(NotImplementedError) as caught:
        sad.render(make_sites(4), (3, 3), implementation="cpu")
    message = str(caught.value)
    assert message.startswith("expected the CPU engine, which this installation was built without")
    assert message.endswith('use implementation=None or "xla"')
    assert "\n" not in message
    assert sad.engine().name == "xla_vjp"
    assert "built without" in sad.engine().why
    assert "C++ compiler" in sad.engine().faster


def test_a_library_that_does_not_load_is_told_of(not_built):
    (not_built / "engine_x86_64_v2.so").write_bytes(b"of another machine")
    assert kernels_cpu.why_not_built().startswith("expected a CPU engine that loads, got OSError")
    assert kernels_cpu.instructions() == ""


@pytest.mark.parametrize(
    ("k", "dtype", "message"),
    [
        (33, np.float32, "expected lists of 1 to 32 sites for the CPU engine, got 33"),
        (8, np.float64, "expected sites in float32 for the CPU engine, got float64"),
    ],
)
def test_what_it_lacks_is_refused_by_name(k, dtype, message):
    with pytest.raises(NotImplementedError, match=f'{message}; use implementation=None or "xla"'):
        resolve("cpu", np.zeros(3, dtype), k=k)


def test_arrays_elsewhere_are_refused(cpu_engine):
    with pytest.raises(NotImplementedError, match=r"expected arrays on a CPU .* got gpu"):
        resolve("cpu", np.zeros(3, np.float32), k=8, platform="gpu")
    assert resolve("cpu", np.zeros(3, np.float32), k=8) == cpu_engine


@pytest.mark.usefixtures("cpu_engine", "x64")
def test_float64_is_left_to_xla_where_the_engine_was_chosen(make_sites, reference):
    sites = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), make_sites(5))
    lists = reference.lists(sites, (3, 4))
    picture = sad.render(sites, lists, implementation=CHOSEN)
    assert picture.dtype == np.float64
    np.testing.assert_allclose(picture, reference.render(sites, lists), atol=1e-12)
    with pytest.raises(NotImplementedError, match=r"expected arrays in float32 .* got float64"):
        sad.render(sites, lists, implementation=Backend("cpu"))


@pytest.mark.usefixtures("cpu_engine")
@pytest.mark.parametrize("chosen", [CHOSEN, Backend("by_platform", chosen=True)])
def test_second_derivatives_are_left_to_xla_where_the_engine_was_chosen(
    make_sites, reference, assert_same, chosen
):
    sites = jax.tree.map(jnp.asarray, make_sites(5, 1))
    lists = reference.lists(sites, (3, 4))

    def product(implementation):
        energy = lambda s: jnp.sum(sad.render(s, lists, implementation=implementation) ** 2)  # noqa: E731
        return jax.jit(lambda s: jax.jvp(jax.grad(energy), (s,), (s,)))(sites)[1]

    assert_same(product(chosen), product("xla"), 1e-3)


@pytest.mark.usefixtures("cpu_engine")
def test_ids_that_are_none_are_not_followed(make_sites, reference):
    """Lists of a caller's own, or of sites that are no numbers, may hold anything."""
    sites = make_sites(5)
    lists = reference.lists(sites, (3, 4))
    wrong = lists.replace(ids=lists.ids.at[0, 0].set(-7).at[1, 1].set(2**30))
    draw = partial(sad.render, sites, implementation="cpu")
    np.testing.assert_array_equal(draw(wrong)[2], draw(lists)[2])
    known = lists.ids.at[0, 0].set(0).at[1, 1].set(4)
    np.testing.assert_array_equal(draw(wrong), draw(lists.replace(ids=known)))
    nowhere = sites.replace(position=sites.position * np.float32(np.nan))
    ids = sad.find_candidates(nowhere, (3, 4), implementation="cpu")
    assert draw(ids).shape == (3, 4, 3)


PROGRAM = """
import os, sys
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[: int(sys.argv[1])])
import hashlib, jax, jax.numpy as jnp, numpy as np, sad_jax as sad
image = np.random.default_rng(0).uniform(size=(61, 83, 3)).astype(np.float32)
sites = sad.init_sites(image, 300, key=jax.random.key(0))
lists = sad.find_candidates(sites, (61, 83), implementation="cpu")
loss = lambda s: jnp.sum((sad.render(s, lists, implementation="cpu") - image) ** 2)
leaves = [lists.ids, *jax.tree.leaves(jax.value_and_grad(loss)(sites))]
print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.usefixtures("cpu_engine")
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="one core, or a system that does not tell",
)
def test_the_number_of_threads_does_not_change_a_bit():
    one, two = (
        subprocess.check_output([sys.executable, "-c", PROGRAM, n], text=True) for n in "12"
    )
    assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("level", ["V2", "V3", "V4"])
def test_every_engine_of_a_wheel_compiles(level):
    """As far as that can be seen without making its code."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs an x86-64 machine")
    root = Path(__file__).parents[2]
    (features,) = re.findall(rf"set\({level} (.*)\)", (root / "CMakeLists.txt").read_text())
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", *(f"-m{name}" for name in features.split())]
    headers = Path(jaxlib.__file__).parent / "include"
    source = root / "kernels_cpu" / "engine.cpp"
    command = [compiler, *flags, "-isystem", str(headers), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
