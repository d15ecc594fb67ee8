"""What the commands tell: figures of pictures and files, the table of a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sad_jax.commands import tell
from sad_jax.commands.runtime import output_path

if TYPE_CHECKING:
    import numpy as np


Figures = dict[str, Any]
STDOUT = "-"  # as the name of a JSON file
PACKAGES = ("sad-jax", "jax", "jaxlib", "numpy")


def quality(image: np.ndarray, target: np.ndarray) -> Figures:
    """PSNR and SSIM of a picture as the target's range shows it; None where JSON has no number."""
    from sad_jax.metrics import psnr, ssim
    from sad_jax.model.value_range import ValueRange

    values = ValueRange.of(target)
    image, target = values.to_unit(image).clip(0, 1), values.to_unit(target)
    figures = {"psnr": finite(psnr(image, target)), "ssim": finite(ssim(image, target))}
    return figures if values.is_unit else figures | {"value_range": list(values)}


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def decibels(figures: Figures) -> str:
    """The PSNR in words, with the range of values that its peak is the width of, unless [0, 1]."""
    if figures["psnr"] is None:
        return "no error"
    low, high = figures.get("value_range", (0, 1))
    told = "" if (low, high) == (0, 1) else f" on values of {low:g} to {high:g}"
    return f"{figures['psnr']:.2f} dB{told}"


def rates(file: Path, num_sites: int, pixels: int) -> Figures:
    """Sites and bytes of a file, and both in bits a pixel."""
    from sad_jax.model.canvas import BITS_PER_SITE

    size = file.stat().st_size
    return {
        "sites": num_sites,
        "bytes": size,
        "bpp": 8 * size / pixels,
        "nominal_bpp": BITS_PER_SITE * num_sites / pixels,
    }


def write_json(path: str | Path | None, figures: Figures | dict[str, Figures]) -> None:
    """Writes figures to a file or to stdout, if one is wanted."""
    from sad_jax.storage.atomic import write_bytes

    if path is None:
        return
    text = json.dumps(figures, indent=2, allow_nan=False)
    if path == STDOUT:
        tell(text)
    else:
        write_bytes(output_path(path), f"{text}\n".encode())


def table(rows: dict[str, Figures]) -> str:
    """A line a photograph, and the means of what was fitted."""
    width = max(map(len, [*rows, "photo"]), default=0)
    head = f"{'photo':{width}}  {'PSNR':>7} {'SSIM':>7} {'sites':>8} {'bpp':>8} {'seconds':>8}"
    fitted = [row for row in rows.values() if "error" not in row]
    lines = [
        f"{name:{width}}  {'failed: ' + row['error'] if 'error' in row else _cells(row)}"
        for name, row in rows.items()
    ]
    means = {
        name: sum(values) / len(values)
        for name in ("psnr", "ssim", "sites", "bpp", "seconds")
        if (values := [row[name] for row in fitted if row[name] is not None])
    }
    mean = f"{'mean':{width}}  {_cells(means)}" if fitted else "nothing was fitted"
    return "\n".join([head, *lines, mean, f"{len(fitted)} of {len(rows)} fitted"])


def is_row(row: Figures) -> bool:
    """Whether figures have what the table shows."""
    numbers = [row.get(name) for name in ("sites", "bpp", "seconds")]
    quality = [row.get(name, "") for name in ("psnr", "ssim")]
    number = (int, float)
    return all(isinstance(value, number) for value in numbers) and all(
        value is None or isinstance(value, number) for value in quality
    )


def _cells(row: Figures) -> str:
    psnr, ssim = (
        f"{'-' if row.get(name) is None else format(row[name], form):>7}"
        for name, form in (("psnr", ".2f"), ("ssim", ".4f"))
    )
    return f"{psnr} {ssim} {row['sites']:8.0f} {row['bpp']:8.3f} {row['seconds']:8.1f}"


def versions() -> dict[str, str]:
    """The versions that a fit depends on."""
    import platform

    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def version(package: str) -> str:
    """The version of an installed package."""
    import importlib.metadata  # takes longer than all of --help

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed
