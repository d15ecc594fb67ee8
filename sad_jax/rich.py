"""What notebooks show: thumbnails and tables as HTML, imported when they are first shown."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sad_jax.render import render
from sad_jax.sites import PARKED_RADIUS, Sites
from sad_jax.viz import film_frame

if TYPE_CHECKING:
    from sad_jax.fit import FitResult
    from sad_jax.minimize import State

_SIDE = 240  # pixels of a thumbnail


def sites_html(sites: Sites) -> str:
    """Number, channels, and of every field the least, middle and largest value."""
    alive = np.asarray(sites.radius) != PARKED_RADIUS
    head = f"<b>{np.sum(alive):,} sites</b>, {sites.channels} channels, {alive.shape[0]:,} slots"
    rows: list[tuple[str, ...]] = [("field", "least", "median", "largest")]
    for name in ("position", "log_tau", "radius", "color", "log_aniso"):
        values = np.asarray(getattr(sites, name))[alive]
        rows.append((name, *(f"{v:.4g}" for v in np.percentile(values, (0, 50, 100)))))
    return f"<div>{head}{_table(rows)}</div>"


def result_html(result: FitResult) -> str:
    """The picture of a fit and its figures."""
    picture = render(result.sites, result.shape)
    height, width = result.shape
    rows = [
        ("canvas", f"{width} x {height}"),
        ("sites", f"{result.sites.num_sites:,}"),
        ("file", f"{len(result.data):,} bytes, {8 * len(result.data) / (width * height):.2f} bpp"),
        ("PSNR", f"{result.psnr:.2f} dB"),
        ("SSIM", f"{result.ssim:.4f}"),
        ("steps", f"{result.steps}, in {result.seconds:.1f} s"),
    ]
    return _beside(_thumbnail(picture), _table(rows))


def state_html(state: State) -> str:
    """The picture of a minimisation as it stands, and its sites."""
    picture = render(state.sites, state.lists)
    return _beside(_thumbnail(picture), f"step {int(state.step)}, {sites_html(state.sites)}")


def _thumbnail(picture) -> str:
    frame = film_frame(picture)
    frame.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    frame.save(buffer, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _beside(*parts: str) -> str:
    return (
        '<div style="display:flex;gap:1em">' + "".join(f"<div>{p}</div>" for p in parts) + "</div>"
    )
