"""The page itself: one HTML file that needs neither a network nor a server."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
from importlib.resources import files

import numpy as np

from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.storage.atomic import write_bytes
from sad_jax.storage.pictures import as_rgb
from sad_jax.viewer.embedded import embed

SCRIPTS = ("inflate", "diagram", "painter", "view", "overlay", "controls", "main")


class Page:
    """A diagram to look at in a browser; in a notebook it shows itself.

    Attributes:
      html: the whole page, which holds all that it needs.
      height: pixels that it takes in a notebook.
    """

    def __init__(self, text: str, height: int):
        self.html = text
        self.height = height

    def save(self, path: str | os.PathLike) -> None:
        """Writes the page, whole or not at all."""
        write_bytes(path, self.html.encode())

    def _repr_html_(self) -> str:
        source = html.escape(self.html)
        style = f"width:100%;height:{self.height}px;border:0"
        return f'<iframe title="sad-jax viewer" style="{style}" srcdoc="{source}"></iframe>'


def make_page(
    sites: Sites,
    canvas: Canvas,
    *,
    title: str,
    tau_range: tuple[float, float],
    worst: float,
    photo: np.ndarray | None,
    height: int,
) -> Page:
    """The page of a diagram.

    Args:
      sites: those of the picture, none parked.
      canvas: the picture's size and K.
      title: of the page, and of the pictures that it saves.
      tau_range: of log_tau, shown darkest and brightest.
      worst: the error that is shown brightest.
      photo: float[H, W, C] of the canvas's size, or None.
      height: pixels that the page takes in a notebook.
    """
    about, data = embed(sites, canvas)
    about |= {"title": title, "tau": tau_range, "worst": worst}
    about["photo"] = None if photo is None else _as_png(photo)
    script = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    parts = {
        "title": html.escape(title),
        "sites": f"{sites.num_sites:,}",
        "style": _read("style.css"),
        "about": json.dumps(about).replace("<", "\\u003c"),
        "data": data,
        "script": f"const SHADER = {json.dumps(_read('shader.glsl'))};\n{script}",
    }
    text = re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], _read("page.html"))
    return Page(text, height)


def _read(name: str) -> str:
    return files("sad_jax.viewer").joinpath("web", name).read_text(encoding="utf-8")


def _as_png(photo: np.ndarray) -> str:
    buffer = io.BytesIO()
    as_rgb(photo).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
