"""The CPU engine: the passes over a picture, and lists, in C++, called through ``jax.ffi``.

To read in this order: ``library.py`` (the compiled library, found and made known to XLA),
``calls.py`` (its functions on arrays), then the sources: ``simd.hpp`` (vectors), ``threads.hpp``,
``members.hpp`` (lists from the sites' side), ``pixels.hpp`` (the blend), ``passes.hpp``,
``blocks.hpp`` (of the curvature), ``best.hpp`` (the merge), ``search.hpp``, ``engine.cpp`` (what
XLA calls). Nothing of a recipe is in it, and everything works without it: the plain XLA twin of a
pass is its definition, and what runs where the engine is not built.
"""

from __future__ import annotations

from kernels_cpu.calls import (
    blend_picture,
    change_of_picture,
    group_lists,
    map_curvature,
    merge_lists,
    search_lists,
    solve_blocks,
    sum_members,
)
from kernels_cpu.library import instructions, why_not_built

__all__ = [
    "blend_picture",
    "change_of_picture",
    "group_lists",
    "instructions",
    "map_curvature",
    "merge_lists",
    "search_lists",
    "solve_blocks",
    "sum_members",
    "why_not",
    "why_not_built",
]

MOST_SITES = 32  # in a list


def why_not(k: int, dtype) -> str | None:
    """Why the engine does not run on lists of K sites of this precision; None if it does."""
    if not 1 <= k <= MOST_SITES:
        return f"expected lists of 1 to {MOST_SITES} sites for the CPU engine, got {k}"
    if dtype != "float32":
        return f"expected sites in float32 for the CPU engine, got {dtype}"
    return why_not_built()
