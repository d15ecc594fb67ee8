"""Layers: a module imports only from layers below its own, and no imports form a circle."""

import ast
from functools import cache
from inspect import ismodule
from pathlib import Path

import pytest

import kernels_cpu
import kernels_pallas
import sad_jax

ROOT = Path(__file__).parents[1]
LAYERS = [  # from the ground up; the packages of one layer know nothing of each other
    {"sad_jax.html", "sad_jax.colormap", "sad_jax.pytree"},
    {"sad_jax.varying", "sad_jax.broadcasting", "sad_jax.transferring"},
    {"sad_jax.by_platform", "sad_jax.with_transpose", "sad_jax.version"},
    {"sad_jax.model"},
    {"kernels_pallas", "kernels_cpu"},
    {"sad_jax.backend", "sad_jax.sharding"},
    {"sad_jax.lists"},
    {"sad_jax.draw"},
    {"sad_jax.storage", "sad_jax.metrics", "sad_jax.priors", "sad_jax.tuning"},
    {"sad_jax.viewer"},
    {"sad_jax.viz"},
    {"sad_jax.optimize"},
    {"sad_jax.coding"},
    {"sad_jax.fitting"},
    {"sad_jax.commands"},
    {"sad_jax.cli"},
    {"sad_jax.__main__"},
]
STORAGE_READS = {"sad_jax.model", "sad_jax.storage"}  # bytes need neither lists nor drawing


def modules() -> dict[str, Path]:
    """All modules of both packages by their dotted names; a package is its ``__init__``."""
    found = {}
    for package in ("sad_jax", "kernels_pallas", "kernels_cpu"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports(name: str) -> set[str]:
    """The modules of ours that one imports anywhere, functions and type checking included."""
    found, path = set(), MODULES[name]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"expected absolute imports in {path}"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
        else:
            continue
        found |= {name for name in names if name in MODULES}
    return found - {name}


def package_of(name: str) -> str:
    """The package of ours in which a module lies; what re-exports them all lies above them all."""
    if name == "sad_jax":
        return "sad_jax.__main__"
    return next(r for layer in LAYERS for r in layer if name == r or name.startswith(f"{r}."))


def layer(name: str) -> int:
    return next(i for i, packages in enumerate(LAYERS) if package_of(name) in packages)


def test_every_module_has_a_layer_and_every_layer_a_module():
    packages = {package_of(name) for name in MODULES if name != "sad_jax"}
    assert packages == set().union(*LAYERS)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"sad_jax"}))
def test_a_module_imports_from_the_layers_below_alone(name):
    above = {
        other
        for other in imports(name)
        if other == "sad_jax"
        or (package_of(other) != package_of(name) and layer(other) >= layer(name))
    }
    assert not above
    if package_of(name) == "sad_jax.storage":
        assert {package_of(other) for other in imports(name)} <= STORAGE_READS
    if package_of(name) != "sad_jax.backend":
        kernels = {o for o in imports(name) if package_of(o) in ("kernels_pallas", "kernels_cpu")}
        text = MODULES[name].read_text()
        checking_only = "if TYPE_CHECKING:\n    from kernels_pallas import Launch" in text
        assert not kernels or checking_only or package_of(name).startswith("kernels")


def test_nothing_runs_in_a_circle():
    """Not among the modules of one package either."""
    open_, done = [], set()

    def visit(name: str) -> None:
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name in done:
            return
        open_.append(name)
        for other in sorted(imports(name)):
            visit(other)
        done.add(open_.pop())

    for name in MODULES:
        visit(name)


@pytest.mark.parametrize(
    "package", [sad_jax, kernels_pallas, kernels_cpu], ids=lambda package: package.__name__
)
def test_no_module_is_hidden_by_a_function_of_its_name(package):
    """What a package exports has other names than the modules and folders beside it."""
    beside = {
        name.removeprefix(f"{package.__name__}.").partition(".")[0]
        for name in MODULES
        if name.startswith(f"{package.__name__}.")
    }
    whole_modules = {name for name in package.__all__ if ismodule(getattr(package, name))}
    assert not (set(package.__all__) - whole_modules) & beside
