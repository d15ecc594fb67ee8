"""HTML that notebooks show: tables, thumbnails, and parts side by side."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

THUMBNAIL = 240  # pixels of its longer side, at most


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


def beside(*parts: str) -> str:
    """Parts from left to right."""
    columns = "".join(f"<div>{part}</div>" for part in parts)
    return f'<div style="display:flex;gap:1em">{columns}</div>'
