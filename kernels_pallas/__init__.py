"""GPU kernels in Pallas: the passes over a picture, the merge of lists, and the exact search.

To read in this order: ``config.py`` (how a kernel is launched), ``blend.py`` (layout, blend),
``by_site.py`` (the fit step: each site gathers from its pixels), ``fit_step.py`` (its other way:
each pixel hands out to its sites), ``propagate.py``, ``search.py``.
Each opens with its data layout, what one program does, and the bytes and operations it must move.
They take plain arrays and share with ``sad_jax`` the formula alone.
"""

from __future__ import annotations

import jax

from kernels_pallas.config import Launch

MOST_SITES = 32  # in a list
LEAST_CAPABILITY = 8.0
INTERPRETED = Launch(lanes=8192, interpret=True)


def why_not(k: int, dtype) -> str | None:
    """Why the kernels do not run here on lists of K sites, or None if they do."""
    if not 1 <= k <= MOST_SITES:
        return f"expected lists of 1 to {MOST_SITES} sites for the Pallas kernels, got {k}"
    if dtype != "float32":
        return f"expected sites in float32 for the Pallas kernels, got {dtype}"
    if jax.default_backend() != "gpu":
        return f"expected a CUDA GPU for the Pallas kernels, got {jax.default_backend()}"
    capability = getattr(jax.devices()[0], "compute_capability", "none")
    if capability == "none" or float(capability) < LEAST_CAPABILITY:
        return (
            f"expected a CUDA GPU of compute capability {LEAST_CAPABILITY} for the Pallas kernels, "
            f"got {capability}"
        )
    return None
