"""The engine's compiled library: one for each instruction set; the best that runs here is loaded.

Nothing is loaded before it is asked for.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

import jax

FUNCTIONS = (
    "sad_blend",
    "sad_change",
    "sad_color_product",
    "sad_color_right_side",
    "sad_curvature",
    "sad_gradient",
    "sad_group",
    "sad_map_curvature",
    "sad_merge",
    "sad_pull_back",
    "sad_search",
    "sad_solve",
    "sad_statistics",
)
LEVELS = (4, 3, 2)  # of x86-64
REBUILD = "with a C++ compiler at hand, run: pip install --force-reinstall --no-deps sad-jax"


def why_not_built() -> str | None:
    """Why the engine does not run on this machine, and what helps; None if it runs."""
    return loaded()[1]


def instructions() -> str:
    """For which instructions the loaded library was compiled, in words; empty if there is none."""
    path = loaded()[0]
    return "" if path is None else path.stem.removeprefix("engine_").replace("_", "-")


@functools.cache
def loaded() -> tuple[Path | None, str | None]:
    """The library's path, its functions being known to XLA; or None, and the reason."""
    package = sys.modules[__package__].__path__  # of an editable installation, two folders
    paths = {path.stem: path for folder in package for path in Path(folder).glob("engine_*.so")}
    if not paths:
        return (
            None,
            f"expected the CPU engine, which this installation was built without; {REBUILD}",
        )
    try:
        first = ctypes.CDLL(str(paths[min(paths)]))  # its instructions are everywhere
        level = first.sad_level()
        names = [f"engine_x86_64_v{n}" for n in LEVELS if n <= level] if level else list(paths)
        path = next(paths[name] for name in names if name in paths)
        library = ctypes.CDLL(str(path))
        for name in FUNCTIONS:
            capsule = jax.ffi.pycapsule(getattr(library, name))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except (OSError, AttributeError, StopIteration) as error:  # of another machine or version
        return None, f"expected a CPU engine that loads, got {error!r}; {REBUILD}"
    return path, None
