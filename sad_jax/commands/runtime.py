"""What a command needs of the machine: JAX with its compile cache, and places to write to."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path

MOST_KINDS = 4  # of fits whose programs are kept in memory, about 110 MiB each


def start_jax():
    """Imports JAX with the compile cache on, so that a second run starts at once.

    The cache lies in ``$SAD_JAX_CACHE``, by default in the user's cache folder; an empty value
    turns it off, and one that JAX was already told of stays. Loading from it, XLA 0.10 reports
    tuning hints of the very same CPU as errors (jax-ml/jax#38445), which would drown our one line.
    """
    import jax

    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("SAD_JAX_CACHE", str(Path(home) / "sad-jax"))
    if cache and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        if "JAX_LOGGING_LEVEL" not in os.environ:
            jax.config.update("jax_logging_level", "CRITICAL")
    return jax


class Programs:
    """What JAX has compiled, dropped from memory now and then.

    Pictures of each size need programs of their own, which JAX keeps as long as the process lives.
    When more than ``MOST_KINDS`` have been used, all are dropped.
    """

    def __init__(self):
        self._kinds: set[Hashable] = set()

    def used(self, kind: Hashable) -> None:
        """Tells of a fit that is done; one of the same kind runs the same programs."""
        self._kinds.add(kind)
        if len(self._kinds) > MOST_KINDS:
            import jax

            jax.clear_caches()
            self._kinds.clear()


def output_path(path: str | os.PathLike) -> Path:
    """A path to write to, whose folder exists; raises before the work where it cannot be written.

    Raises:
      ValueError: a folder that is a file, or a place that ``check_place`` refuses.
    """
    from sad_jax.storage.atomic import check_place

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"expected a folder to write into, got a file: {path.parent}") from None
    check_place(path)
    return path


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder of pictures: a directory, but for that of a zarr array."""
    if not Path(path).is_dir():
        return False
    from sad_jax.storage.rows import is_zarr

    return not is_zarr(Path(path))
