"""HTML that notebooks show: tables, thumbnails, and parts side by side."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

THUMBNAIL = 240  # pixels of its longer side, at most
DOT = 3  # pixels a side


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of text as a table."""
    cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def thumbnail(picture: Image.Image) -> str:
    """A small copy of a picture, as an image that holds its own PNG."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def dots(position: np.ndarray, color: np.ndarray) -> str:
    """Points [N, 2] on gray in their colours [N, C], as an image that holds its own PNG."""
    rgb = color[:, :3] if color.shape[1] >= 3 else np.repeat(color[:, :1], 3, 1)
    low, high = np.min(position, 0, initial=0), np.max(position, 0, initial=1)
    scale = (THUMBNAIL - DOT) / max(high - low)
    width, height = (int(side) for side in np.ceil((high - low) * scale) + DOT)
    picture = Image.new("RGB", (width, height), "gray")
    draw = ImageDraw.Draw(picture)
    for place, ink in zip((position - low) * scale, np.clip(rgb, 0, 1), strict=True):
        draw.rectangle((*place, *(place + DOT - 1)), tuple(np.rint(255 * ink).astype(int)))
    return thumbnail(picture)


def beside(*parts: str) -> str:
    """Parts from left to right."""
    columns = "".join(f"<div>{part}</div>" for part in parts)
    return f'<div style="display:flex;gap:1em">{columns}</div>'
