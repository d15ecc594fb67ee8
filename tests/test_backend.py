"""Which engine runs: by name, by where the arrays lie, and by platform within transformations."""

from functools import partial

import jax
import numpy as np
import pytest

import sad_jax as sad
from kernels_cpu import why_not_built
from kernels_pallas import INTERPRETED, Launch, why_not
from sad_jax.backend import Backend, resolve

CPU = jax.devices("cpu")[0]
ENGINE = Backend("cpu", chosen=True)
BY_PLATFORM = Backend("by_platform", Launch(), chosen=not why_not_built())


class Gpu:
    """What ``jax.devices`` tells of a CUDA GPU."""

    platform = "gpu"

    def __init__(self, capability):
        self.compute_capability = capability


@pytest.fixture
def machine(monkeypatch):
    """``machine("9.0")`` has GPUs of these capabilities, the first one as its default device."""
    devices = jax.devices

    def build(*capabilities) -> None:
        gpus = [Gpu(capability) for capability in capabilities]
        found = lambda platform=None: gpus if platform in (None, "gpu") else devices(platform)  # noqa: E731
        monkeypatch.setattr(jax, "devices", found)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    return build


def zeros(dtype=np.float32) -> np.ndarray:
    return np.zeros(3, dtype)


def traced(implementation=None, k=8, dtype=np.float32) -> Backend:
    """What is resolved within jit, where nobody knows yet where arrays will lie."""
    found = []
    jax.eval_shape(lambda a: found.append(resolve(implementation, a, k=k)), zeros(dtype))
    return found[0]


@pytest.mark.usefixtures("not_built")
def test_without_an_engine_a_cpu_runs_xla(machine):
    for _ in range(2):
        there = jax.device_put(zeros(), CPU)
        assert resolve(None, there, k=8) == Backend("xla_vjp")
        machine("7.5")  # no more than this
    assert traced() == Backend("xla_vjp")


@pytest.mark.usefixtures("cpu_engine")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU")
def test_on_a_machine_without_a_gpu_none_takes_the_engine(make_sites):
    assert resolve(None, zeros(), k=8) == ENGINE
    assert traced() == Backend("by_platform", chosen=True)
    for lacking in ({"k": 33}, {"dtype": np.float16}):
        assert traced(**lacking) == Backend("xla_vjp")
    assert resolve(None, zeros(np.float16), k=8) == resolve(None, zeros(), k=33) == traced(k=33)
    for named in ("pallas", "pallas_interpret"):
        assert not why_not(8, np.dtype("float32"))
        if named == "pallas":
            for find in (resolve, lambda name, _, k: traced(name, k)):
                with pytest.raises(NotImplementedError, match=r"a CUDA GPU .* got cpu; use impl"):
                    find(named, zeros(), k=8)
        else:
            assert resolve(named, zeros(), k=8) == Backend("pallas", INTERPRETED)
    with pytest.raises(NotImplementedError, match=r"expected a CUDA GPU .* got cpu; use impl"):
        sad.render(make_sites(4), (3, 3), implementation="pallas")


@pytest.mark.parametrize("capability", ["8.0", "9.0", "12.0"])
def test_on_a_gpu_none_takes_the_kernels(machine, capability):
    machine(capability)
    for implementation in (None, "pallas"):
        assert resolve(implementation, zeros(), k=8) == Backend("pallas", Launch())
    assert resolve("xla", zeros(), k=8) == Backend("xla")
    assert traced() == BY_PLATFORM
    assert traced("pallas") == Backend("pallas", Launch())


@pytest.mark.usefixtures("cpu_engine")
def test_arrays_that_lie_on_the_cpu_of_a_gpu_machine_stay_there(machine):
    machine("9.0")
    there = jax.device_put(zeros(), CPU)
    assert there.committed
    assert resolve(None, there, k=8) == ENGINE
    assert resolve(None, {"a": zeros(), "b": there}, k=8) == ENGINE
    with pytest.raises(NotImplementedError, match=r"expected a CUDA GPU .* got cpu"):
        resolve("pallas", there, k=8)
    with jax.default_device(CPU):
        assert resolve(None, zeros(), k=8) == ENGINE
        assert traced() == BY_PLATFORM  # told when it is lowered


@pytest.mark.parametrize("capabilities", [("7.5",), ("9.0", "7.5"), ("gfx90a",), (None,)])
def test_gpus_that_cannot_run_the_kernels_run_xla(machine, capabilities):
    machine(*capabilities)
    assert resolve(None, zeros(), k=8) == Backend("xla_vjp")
    assert traced().launch is None
    with pytest.raises(NotImplementedError, match=r"of compute capability 8\.0 .* got"):
        resolve("pallas", zeros(), k=8)


@pytest.mark.parametrize(
    ("k", "dtype", "message"),
    [
        (33, np.float32, "expected lists of 1 to 32 sites .* got 33"),
        (8, np.float16, "expected sites in float32 .* got float16"),
    ],
)
def test_what_the_kernels_lack_runs_on_xla(machine, k, dtype, message):
    machine("9.0")
    assert resolve(None, zeros(dtype), k=k) == traced(k=k, dtype=dtype) == Backend("xla_vjp")
    for find in (lambda: resolve("pallas", zeros(dtype), k=k), lambda: traced("pallas", k, dtype)):
        with pytest.raises(NotImplementedError, match=message):
            find()


def test_a_backend_is_taken_as_it_is(make_sites, reference):
    backend = Backend("pallas", INTERPRETED, deterministic=False)
    assert resolve(backend, zeros(), k=99) is backend
    sites = make_sites(6, shape=(3, 5))
    lists = reference.lists(sites, (3, 5), k=4)
    draw = partial(sad.render, sites, lists)
    expected = draw(implementation="pallas_interpret")
    np.testing.assert_array_equal(draw(implementation=backend), expected)


def test_names_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"expected implementation None or one of .* got 'cuda'"):
        resolve("cuda", zeros(), k=8)


@pytest.mark.parametrize(
    ("name", "launch", "message"),
    [
        ("cuda", None, "expected a backend of .* got 'cuda'"),
        ("pallas", None, "expected a launch for the backend 'pallas', got None"),
        ("by_platform", None, "expected a launch for the backend 'by_platform', got None"),
        ("xla", Launch(), "expected no launch for the backend 'xla', got Launch"),
    ],
)
def test_backends_that_would_run_something_else_are_refused(name, launch, message):
    with pytest.raises(ValueError, match=message):
        Backend(name, launch)


def test_lists_tell_where_a_computation_runs_too(machine, make_sites, reference):
    """Sites that lie nowhere in particular are drawn where their lists are."""
    machine("9.0")
    sites = make_sites(4, shape=(3, 5))
    lists = jax.device_put(reference.lists(sites, (3, 5)), CPU)
    assert resolve(None, (sites, lists), k=4).launch is None


def test_a_search_under_vmap_compiles_once(machine, make_sites, compiled):
    """On a machine with a GPU both ways are traced there; here, on a CPU, one of them runs."""
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *(make_sites(9, seed=s) for s in (0, 1)))
    expected = jax.vmap(lambda sites: sad.find_candidates(sites, (6, 7)).ids)(batch)
    machine("9.0")
    with jax.default_device(CPU):
        for _ in range(2):
            before = compiled.total()
            found = jax.vmap(lambda sites: sad.find_candidates(sites, (6, 7)).ids)(batch)
            assert (found == expected).all()
    assert compiled.total() == before
