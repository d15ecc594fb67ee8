"""What a page holds of a diagram: numbers in words, and one compressed block of bytes.

The block is, in this order: ten float32 a site, field by field and then byte by byte, so that like
bytes lie together; how many sites each tile has; their ids, each less the one before; the colours
of the temperature. Counts and ids are whole numbers of seven bits a byte. ``web/diagram.js`` reads
it.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any, NamedTuple

import jax
import numpy as np

from sad_jax.colormap import viridis_table
from sad_jax.lists.tiles import Tiles, find_tiles
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.storage.pictures import to_uint8

TILE_SIDES = (4, 8, 16, 32, 64)  # pixels


class Embedded(NamedTuple):
    """``about``: size, K, tiles and number of sites; ``data``: the block, in base64."""

    about: dict[str, Any]
    data: str


def embed(sites: Sites, canvas: Canvas) -> Embedded:
    """The sites, and for each tile those that can enter an exact list anywhere in it."""
    sites = jax.tree.map(np.asarray, jax.device_get(sites))
    mean = math.sqrt(canvas.pixels / sites.num_sites)  # pixels a side of a site's share
    tiles = find_tiles(sites, canvas, next((s for s in TILE_SIDES if s >= mean), TILE_SIDES[-1]))
    block = _numbers(sites) + _whole(_steps(tiles)) + to_uint8(viridis_table()).tobytes()
    packed = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    data = base64.b64encode(packed.compress(block) + packed.flush()).decode()
    about = {
        "width": canvas.width,
        "height": canvas.height,
        "k": min(canvas.k, sites.num_sites),
        "sites": sites.num_sites,
        "side": tiles.side,
        "columns": tiles.columns,
        "rows": tiles.rows,
        "bytes": len(block),
    }
    return Embedded(about, data)


def _numbers(sites: Sites) -> bytes:
    color = sites.color if sites.channels >= 3 else np.repeat(sites.color[:, :1], 3, 1)
    columns = [sites.position, sites.log_tau, sites.radius, color[:, :3]]
    columns += [sites.direction, sites.log_aniso]
    fields = np.column_stack(columns).T.astype("<f4")
    return np.ascontiguousarray(fields).view(np.uint8).reshape(-1, 4).T.tobytes()


def _steps(tiles: Tiles) -> np.ndarray:
    """How many ids each tile has, then all ids, each less the one before in its tile."""
    steps = np.diff(tiles.ids, prepend=0)
    first = tiles.start[:-1][np.diff(tiles.start) > 0]
    steps[first] = tiles.ids[first]
    return np.concatenate([np.diff(tiles.start), steps])


def _whole(numbers: np.ndarray) -> bytes:
    """Whole numbers below 2^28, seven bits a byte, the lowest first; the last byte is below 128."""
    parts = numbers[:, None] >> np.asarray([0, 7, 14, 21])
    kept = (parts > 0) | (np.arange(4) == 0)
    more = np.pad(kept[:, 1:], ((0, 0), (0, 1)))
    return ((parts & 127) | (more << 7)).astype(np.uint8)[kept].tobytes()
