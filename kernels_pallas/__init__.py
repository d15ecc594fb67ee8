"""GPU kernels in Pallas: the passes over a picture, the merge of lists, and the exact search.

To read in this order: ``launch.py`` (how a kernel is launched), ``blend.py`` (layout, blend),
``site_sums.py`` (sums for the sites), ``merge.py``, ``search.py``. Each opens with its data layout,
what one program does, and the bytes and operations it must move. They take plain arrays and share
with ``sad_jax`` the formula alone.
"""

from __future__ import annotations

from kernels_pallas.blend import Work, blend_picture, pictures
from kernels_pallas.launch import INTERPRETED, Launch
from kernels_pallas.merge import merge_lists
from kernels_pallas.search import search_lists
from kernels_pallas.site_sums import sum_slots, transpose_lists

__all__ = [
    "INTERPRETED",
    "Launch",
    "Work",
    "blend_picture",
    "merge_lists",
    "pictures",
    "search_lists",
    "sum_slots",
    "transpose_lists",
    "why_not",
]

MOST_SITES = 32  # in a list


def why_not(k: int, dtype) -> str | None:
    """Why no kernel runs on lists of K sites of this precision, on any GPU; None if they do."""
    if not 1 <= k <= MOST_SITES:
        return f"expected lists of 1 to {MOST_SITES} sites for the Pallas kernels, got {k}"
    if dtype != "float32":
        return f"expected sites in float32 for the Pallas kernels, got {dtype}"
    return None
