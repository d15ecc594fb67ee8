"""The official programs' own forms of a sites file: text and JSON, three channels.

Facts from the authors' code (LuckyIYI/SAD): both forms mean K = 8 and lists of single pixels; a
negative x marks a dead site.
"""

from __future__ import annotations

import json
import re

import jax
import numpy as np

from sad_jax.model.canvas import Canvas
from sad_jax.model.room import MAX_PIXELS, check_size
from sad_jax.model.sites import Sites, check_sites, check_values, in_float32

_TITLE = (
    "# SAD Sites (position_x, position_y, color_r, color_g, color_b, "
    "log_tau, radius, aniso_dir_x, aniso_dir_y, log_aniso)"
)
_IMAGE_SIZE = re.compile(r"#[ \t]*Image size:[ \t]*(\d+)[ \t]+(\d+)", re.ASCII)
_TOTAL = re.compile(r"^#[ \t]*Total sites:[ \t]*(\d+)", re.ASCII | re.MULTILINE)
_LARGEST = 2**31 - 1  # pixels a side
_ISOTROPIC = (1.0, 0.0, 0.0)  # the direction and log_aniso of a row of 7 columns


def format_txt(sites: Sites, canvas: Canvas | tuple[int, int]) -> str:
    """Writes sites in the official text form, one a line, so that float32 values come back.

    Args:
      sites: N sites of three channels.
      canvas: (H, W) in pixels, or a ``Canvas``.

    Returns:
      The file's text: ``x y r g b log_tau radius dir_x dir_y log_aniso`` in ``%.9g``.

    Raises:
      ValueError: for other than three channels, values that are not finite or a negative x.
    """
    canvas, rows = Canvas.of(canvas), _to_rows(sites)
    lines = [
        _TITLE,
        f"# Image size: {canvas.width} {canvas.height}",
        f"# Total sites: {len(rows)}",
        f"# Active sites: {len(rows)}",
        *(" ".join(f"{value:.9g}" for value in row) for row in rows.tolist()),
    ]
    return "\n".join(lines) + "\n"


def parse_txt(text: str, *, max_pixels: int | None = MAX_PIXELS) -> tuple[Sites, Canvas]:
    """Reads the official text form.

    Rows of 7 columns mean direction (1, 0) and log_aniso 0, rows of another number of columns are
    skipped as the official programs do, and so are dead sites. Where the head says how many sites
    there are, dead ones included, as all official programs do, they must all be there.

    Args:
      text: of the file.
      max_pixels: of the canvas, as in ``load``.

    Returns:
      The live sites, and the canvas with K = 8 and cells of one pixel.

    Raises:
      ValueError: if there is no image size or one above ``max_pixels``, no live site, a value that
        is no finite number, or a site too few or too many.

    Examples:
      >>> from sad_jax.storage.official import parse_txt
      >>> sites, canvas = parse_txt("# Image size: 4 2\\n1 0 .5 .5 .5 6 4\\n")
      >>> sites.direction.tolist(), canvas
      ([[1.0, 0.0]], Canvas(shape=(2, 4), k=8, cell=1))
    """
    size = _IMAGE_SIZE.search(text)
    if not size:
        raise ValueError("expected a line '# Image size: W H' in the sites file, got none")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if line.lstrip().startswith("#") or len(words) not in (7, 10):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise ValueError(
                f"expected numbers in line {number}, got {line.strip()!r:.80}"
            ) from None
        rows.append(row if len(row) == 10 else [*row, *_ISOTROPIC])
    _check_total(text, len(rows))
    return _from_rows(rows), _canvas(_digits(size[2]), _digits(size[1]), max_pixels)


def _check_total(text: str, found: int) -> None:
    """Raises where a file has not the sites that its head promises, or its last line is cut."""
    total = _TOTAL.search(text)
    if total is None:
        return
    if _digits(total[1]) != found:
        raise ValueError(f"expected {total[1]:.20} sites as the file's head says, got {found}")
    if not text.endswith("\n"):
        raise ValueError("expected a whole last line, got one without an end: truncated")


def _digits(text: str) -> int:
    return int(text[:20])  # with more digits it is too large anyway, and int() takes no 5,000


def _canvas(height: float, width: float, max_pixels: int | None) -> Canvas:
    """The canvas of the sizes in a file; raises where they are no whole numbers, or too large."""
    for side in (height, width):
        number = isinstance(side, int | float) and not isinstance(side, bool)
        if not number or not abs(side) <= _LARGEST or side != int(side):
            raise ValueError(
                f"expected a whole number of pixels a side up to {_LARGEST}, got {side!r:.30}"
            )
    check_size(int(width), int(height), 3, max_pixels)
    return Canvas((int(height), int(width)))


def format_json(sites: Sites, canvas: Canvas | tuple[int, int]) -> str:
    """Writes sites in the official JSON form, so that float32 values come back.

    Args:
      sites: N sites of three channels.
      canvas: (H, W) in pixels, or a ``Canvas``.

    Returns:
      The file's text: ``{image_width, image_height, sites: [{pos, color, log_tau, radius,
      aniso_dir, log_aniso}]}``.

    Raises:
      ValueError: for other than three channels, values that are not finite or a negative x.
    """
    canvas, entries = Canvas.of(canvas), []
    for row in _to_rows(sites).tolist():
        row = [float(f"{value:.9g}") for value in row]
        entries.append(
            {
                "pos": row[:2],
                "color": row[2:5],
                "log_tau": row[5],
                "radius": row[6],
                "aniso_dir": row[7:9],
                "log_aniso": row[9],
            }
        )
    size = {"image_width": canvas.width, "image_height": canvas.height}
    return json.dumps(size | {"sites": entries}) + "\n"


def parse_json(text: str, *, max_pixels: int | None = MAX_PIXELS) -> tuple[Sites, Canvas]:
    """Reads the official JSON form; dead sites are skipped.

    Args:
      text: of the file.
      max_pixels: of the canvas, as in ``load``.

    Returns:
      The live sites, and the canvas with K = 8 and cells of one pixel.

    Raises:
      ValueError: if it is no JSON, a key is missing or of another form, no site is live, a value is
        no finite number, or the canvas is above ``max_pixels``.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise ValueError(f"expected a JSON sites file, got {error}") from None
    try:
        rows = [_row_of(entry) for entry in tree["sites"]]
        height, width = tree["image_height"], tree["image_width"]
    except KeyError as error:
        raise ValueError(f"expected the key {error} in the JSON sites file, got none") from None
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ValueError(f"expected the official JSON form of sites, got {error}") from None
    return _from_rows(rows), _canvas(height, width, max_pixels)


def _row_of(entry: dict) -> list[float]:
    (x, y), (r, g, b) = entry["pos"], entry["color"]
    u, v = entry.get("aniso_dir", _ISOTROPIC[:2])
    log_aniso = entry.get("log_aniso", _ISOTROPIC[2])
    return [float(n) for n in (x, y, r, g, b, entry["log_tau"], entry["radius"], u, v, log_aniso)]


def _to_rows(sites: Sites) -> np.ndarray:
    """Sites as float32[N, 10], in the order of the text form, checked."""
    check_sites(sites)
    if sites.channels != 3:
        raise ValueError(f"expected 3 channels for .txt and .json, got {sites.channels}")
    check_values(sites := in_float32(sites))
    columns = (
        sites.position,
        sites.color,
        sites.log_tau,
        sites.radius,
        sites.direction,
        sites.log_aniso,
    )
    rows = np.concatenate([column.reshape(sites.num_sites, -1) for column in columns], axis=1)
    if (rows[:, 0] < 0).any():
        raise ValueError("expected x >= 0 (a negative x marks a dead site), got a negative one")
    return rows


def _from_rows(rows: list[list[float]]) -> Sites:
    """The live sites of rows in the order of the text form."""
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is refused
        table = np.asarray(rows, np.float32).reshape(-1, 10)
    if not np.isfinite(table).all():
        raise ValueError("expected finite sites, got NaN or infinite values")
    table = table[~(table[:, 0] < 0)]
    if not len(table):
        raise ValueError("expected at least one live site, got none")
    position, color, direction = table[:, 0:2], table[:, 2:5], table[:, 7:9]
    rest = table[:, 5], table[:, 6], table[:, 9]
    position, color, direction, log_tau, radius, log_aniso = jax.device_put(
        (position, color, direction, *rest)
    )
    sites = Sites(position, log_tau, radius, color, direction, log_aniso)
    check_values(sites)
    return sites
