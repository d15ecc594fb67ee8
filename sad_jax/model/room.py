"""Whether a picture has room in memory: asked before the work, as XLA ends the process without."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sad_jax.model.canvas import Canvas

MAX_PIXELS = 2**27  # 134 million: a float32 picture of 4 channels takes 2 GiB


class TooLargeError(ValueError):
    """A picture above a limit; its message is for the user as it is."""


def check_size(width: int, height: int, channels: int, limit: int | None) -> None:
    """Raises where a file promises more pixels than the limit.

    The limit is for pixels of up to 4 channels; one of more counts for as much as it has.
    """
    if limit is not None and width * height * max(channels, 4) > 4 * limit:
        bands = f" of {channels} channels" if channels > 4 else ""
        raise TooLargeError(
            f"expected at most {limit} pixels, got {width}x{height}{bands}, which take "
            f"{_gibibytes(4 * width * height * channels)}; max_pixels=... allows more"
        )


def check_room(canvas: Canvas, channels: int, shape: tuple[int, int] | None = None) -> None:
    """Raises where finding a canvas's lists and drawing them takes more memory than is free.

    How much it takes was measured on a CPU; a GPU has a memory of its own and answers for itself.

    Args:
      canvas: of the lists.
      channels: of the picture.
      shape: (H, W) of the picture, if it is not the canvas's own.
    """
    height, width = canvas.shape if shape is None else shape
    cells = canvas.grid.rows * canvas.grid.columns
    needed = cells * (60 + 10 * canvas.k) + height * width * 12 * channels
    _check(needed, "a picture", f"{width}x{height}", "")


def check_fit_room(canvas: Canvas, channels: int, sites: int, *, rounded: bool = True) -> None:
    """Raises where a fit takes more memory than is free; as ``check_room``.

    In its steps the picture, its target and two changes of it, two sets of lists and what passes
    prepare of one; and of every site what the curvature sums, about three times. While the file is
    made a picture less, one set of lists, and about 13 times these sums, unless no site is
    ``rounded`` (``experiments.scale``).
    """
    cells, sums = canvas.grid.rows * canvas.grid.columns, 29 + 7 * channels
    prepared = 8 * canvas.k + 8  # bytes a cell, twice those of a list
    steps = canvas.pixels * (16 * channels + 4) + cells * (8 * canvas.k + prepared)
    file = canvas.pixels * (12 * channels + 4) + cells * (4 * canvas.k + prepared)
    needed = max(steps + sites * 13 * sums, (file + sites * 54 * sums) * rounded)
    what = f"{canvas.width}x{canvas.height} pixels and {sites} sites at the start"
    _check(needed, "a fit", what, "; fewer initial_sites and larger cells take less")


def _check(needed: int, of: str, what: str, advice: str) -> None:
    free = free_memory()
    if free is not None and needed > free and _draws_on_cpu():
        raise TooLargeError(
            f"expected {of} for which {_gibibytes(free)} of free memory are enough, "
            f"got {what}, which take {_gibibytes(needed)}{advice}"
        )


def _draws_on_cpu() -> bool:
    import jax  # not above: the command line asks for the limit before it needs JAX

    return jax.default_backend() == "cpu"


def free_memory() -> int | None:
    """Bytes that may still be taken, as far as the system tells; None where it tells nothing."""
    found = [_of_machine(), _of_container(), _of_process()]
    return min((size for size in found if size is not None), default=None)


def _of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    names = getattr(os, "sysconf_names", {})  # none on Windows
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if names else None


def _of_container() -> int | None:
    try:
        limit, used = (
            int((Path("/sys/fs/cgroup") / name).read_text())
            for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # there is none, or its limit is "max"
        return None
    return limit - used


def _of_process() -> int | None:
    """The rest of ``ulimit -v``."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit - used


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
