"""Random access to a ``.sad`` file: only what a point or a part of the picture needs is decoded."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from sad_jax.backend import Backend
from sad_jax.draw.api import query, render
from sad_jax.draw.bands import Window
from sad_jax.lists.exact import find_candidates
from sad_jax.model.arguments import describe, whole_numbers
from sad_jax.model.room import MAX_PIXELS, check_size
from sad_jax.model.sites import Sites, check_values, pad
from sad_jax.storage import sad
from sad_jax.storage.compact.codec import Payload
from sad_jax.storage.compact.layout import box_unit
from sad_jax.storage.files import check_suffix

TILE = 64  # pixels a side of what points are looked up in; cells divide it
MOST_TILES = 16  # kept for the next points
SHARE_OF_TILES = 0.25  # from which on the whole picture is looked up in at once
PIECE = 2**20  # bytes checked at once
LEAST_POINTS = 64  # looked up at once: XLA computes a few otherwise, with other last bits
STEPS_AN_OCTAVE = 4  # numbers of sites and points are rounded up to, so that programs are few


class SadFile:
    """An open ``.sad`` file, of which sites are decoded as they are needed.

    Attributes:
      canvas: the picture's size, K and cell size.
      channels: of its colours.
      num_sites: in the file.
      level: of detail: the picture is that of every 2^level-th site along the file's curve.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        size: int,
        *,
        level: int = 0,
        max_pixels: int | None = MAX_PIXELS,
        implementation: str | Backend | None = None,
    ):
        """``read`` gives (offset, count) bytes of a file of ``size`` bytes; see ``open``."""
        self._implementation = implementation
        self._read_bytes, self._size = read, size
        self._header, end, self._stored = sad.parse_header(read(0, min(sad.LONGEST_HEADER, size)))
        start = end + sad.CHECKSUM_BYTES
        sad.check_length(self._header, size - start)
        self.canvas, self.channels = self._header.canvas, self._header.channels
        self.num_sites = self._header.num_sites
        check_size(self.canvas.width, self.canvas.height, self.channels, max_pixels)
        if whole_numbers([level]) is None or not 0 <= level < 32:
            raise ValueError(f"expected a level of 0 to 31, got {describe(level)}")
        self.level = int(level)
        self._payload: Payload | None = None
        self._sites: Sites | None = None
        self._start, self._kept = start, dict[Window, Sites]()
        if self._header.codec == sad.COMPACT:
            self._payload = sad.open_payload(self._header, lambda at, n: read(start + at, n))
        else:
            whole, _ = sad.decode(read(0, size), max_pixels=max_pixels)
            self._sites = self._coarser(jax.tree.map(lambda leaf: leaf[:: 1 << self.level], whole))

    @property
    def bytes_read(self) -> int:
        """Of the file so far."""
        payload = self._payload
        read = self._header.payload_bytes if payload is None else payload.bytes_read
        return self._start + read

    @property
    def window(self) -> Window:
        """The whole picture."""
        return Window.whole(self.canvas)

    def sites(self) -> Sites:
        """All sites of the file's level, in its order."""
        if self._sites is None:
            assert self._payload is not None
            every = np.arange(self._payload.head.order.groups)
            self._sites = self._read(every)
        return self._sites

    def render(self, window: tuple[int, int, int, int] | None = None) -> Float[np.ndarray, "H W C"]:
        """The picture, or a part of it: the very values that the whole picture has there.

        Args:
          window: (x, y, width, height) in pixels, within the canvas; None is all of it.

        Returns:
          float32[height, width, C].

        Raises:
          ValueError: a window that is not within the canvas, or a damaged file.
        """
        return self._draw(self.window_of(window))

    def bands(
        self, window: tuple[int, int, int, int] | None = None
    ) -> Iterator[Float[np.ndarray, "h W C"]]:
        """The picture of ``render`` in bands of rows, from the top down, of a few MiB each.

        A picture that is too large for the memory is drawn so, and written by ``sad-jax render``.

        Args:
          window: as in ``render``.

        Returns:
          An iterator of float32[h, width, C], whose heights add up to the window's.

        Raises:
          ValueError: as ``render``.

        Examples:
          >>> import jax, jax.numpy as jnp, os, sad_jax as sad, tempfile
          >>> sites = sad.init_sites(jnp.ones((48, 64, 3)), 600, key=jax.random.key(0))
          >>> path = os.path.join(tempfile.mkdtemp(), "a.sad")
          >>> sad.save(path, sites, (48, 64), quality=6)
          >>> sum(len(band) for band in sad.open(path).bands())
          48
        """
        bands = self.window_of(window).bands(self.canvas.cell)
        return (self._draw(band) for band in bands)

    def _draw(self, wanted: Window) -> np.ndarray:
        cell = self.canvas.cell
        x, y = wanted.x // cell * cell, wanted.y // cell * cell
        right, bottom = wanted.x + wanted.width, wanted.y + wanted.height
        window = Window(x, y, right - x, bottom - y)
        sites, canvas = window.seen(self._near(window), self.canvas)
        lists = find_candidates(sites, canvas, implementation=self._implementation)
        picture = np.asarray(render(sites, lists, implementation=self._implementation))
        return picture[wanted.y - y :, wanted.x - x :]

    def check(self) -> None:
        """Reads the whole file once, a piece at a time.

        Raises:
          ValueError: if it has been altered since it was written.
        """
        end = self._start - sad.CHECKSUM_BYTES
        found = zlib.crc32(self._read_bytes(0, end))
        for at in range(self._start, self._size, PIECE):
            found = zlib.crc32(self._read_bytes(at, min(PIECE, self._size - at)), found)
        sad.compare_checksums(self._stored, found)

    def query(self, points: Float[ArrayLike, "*M 2"]) -> Float[np.ndarray, "*M C"]:
        """Colours at any points, each by its own exact list, as ``query`` of a canvas has them.

        Args:
          points: float[..., 2], (x, y) in pixels.

        Returns:
          float32[..., C].

        Raises:
          ValueError: points that are no pairs, or a damaged file.
        """
        points = np.asarray(points)
        if points.ndim < 1 or points.shape[-1] != 2 or points.dtype.kind not in "fiu":
            raise ValueError(f"expected points [..., 2], real numbers, got {describe(points)}")
        flat = points.reshape(-1, 2).astype(np.float32)
        colors = np.zeros((len(flat), self.channels), np.float32)
        for window, own in self._windows(flat).items():
            padded = np.resize(flat[own], (_rounded_up(max(len(own), LEAST_POINTS)), 2))
            colors[own] = np.asarray(query(self._sites_at(window), self.canvas, padded))[: len(own)]
        return colors.reshape(*points.shape[:-1], self.channels)

    def _windows(self, points: np.ndarray) -> dict[Window, np.ndarray]:
        """The windows in which points float[M, 2] lie, and which they are; all of the picture where
        most of it is wanted, or any point lies outside of it."""
        if not len(points):
            return {}
        height, width = self.canvas.shape
        pixels = np.floor(np.nan_to_num(points.astype(np.float64), nan=0.0) + 0.5)
        outside = ((pixels < 0) | (pixels >= [width, height])).any()
        if outside or not self._in_groups:
            return {self.window: np.arange(len(points))}
        tiles = pixels.astype(np.int64) // TILE
        columns = -(-width // TILE)
        found, where = np.unique(tiles[:, 1] * columns + tiles[:, 0], return_inverse=True)
        if len(found) > SHARE_OF_TILES * columns * -(-height // TILE):
            return {self.window: np.arange(len(points))}
        order = np.argsort(where, kind="stable")
        split = np.split(order, np.cumsum(np.bincount(where))[:-1])
        tiles_of = zip(found.tolist(), split, strict=True)
        return {self._tile(n // columns, n % columns): own for n, own in tiles_of}

    def _tile(self, row: int, column: int) -> Window:
        x, y = column * TILE, row * TILE
        height, width = self.canvas.shape
        return Window(x, y, min(TILE, width - x), min(TILE, height - y))

    @property
    def _in_groups(self) -> bool:
        """Whether a part can be read without the rest."""
        return self._payload is not None and self._payload.head.order.groups > 0 and not self.level

    def _sites_at(self, window: Window) -> Sites:
        """Those of ``_near``, kept for the next points."""
        if window not in self._kept:
            while len(self._kept) >= MOST_TILES:
                self._kept.pop(next(iter(self._kept)))
            self._kept[window] = self._near(window)
        return self._kept[window]

    def _near(self, window: Window) -> Sites:
        """What a window may show: the base and some groups, and free slots up to a round number;
        all sites where groups cannot be read on their own."""
        if window == self.window or not self._in_groups:
            return self.sites()
        payload = self._payload
        assert payload is not None
        unit, boxes = box_unit(self.canvas.size), payload.index.boxes
        seen = np.ones(len(boxes), bool)
        for axis, (first, size) in enumerate(((window.x, window.width), (window.y, window.height))):
            low, high = first // unit, (first + size - 1) // unit
            seen &= (boxes[:, 2 * axis] <= high) & (boxes[:, 2 * axis + 1] >= low)
        sites = self._read(np.flatnonzero(seen))
        return pad(sites, min(_rounded_up(sites.num_sites), self.num_sites))

    def _read(self, groups: np.ndarray) -> Sites:
        """The sites of the base and of some groups, of the file's level."""
        payload = self._payload
        assert payload is not None
        order = payload.head.order
        if self.level >= order.base_level:
            payload.read_base(self.level)
            which = np.arange(0, self.num_sites, 1 << self.level)
        else:
            payload.read_groups(groups, self.level)
            which = order.members(groups, self.level)
        check_values(sites := Sites(**jax.device_put(payload.sites(which))))
        return self._coarser(sites)

    def _coarser(self, sites: Sites) -> Sites:
        """Sites of a level, each of which stands for 2^level of them.

        Borders are as much wider as the sites are farther apart; a large radius, which was to cover
        sites that are left out, is no larger than that.
        """
        if not self.level:
            return sites
        apart = math.sqrt(self.canvas.pixels / sites.num_sites)
        wider = sites.log_tau - self.level * math.log(2) / 2
        return sites.replace(log_tau=wider, radius=jnp.minimum(sites.radius, apart))

    def window_of(self, window: tuple[int, int, int, int] | None) -> Window:
        """The window (x, y, width, height), checked; None is the whole picture."""
        if window is None:
            return self.window
        numbers = whole_numbers(window)
        if numbers is None or len(numbers) != 4:
            raise ValueError(f"expected a window (x, y, width, height), got {describe(window)}")
        found, (height, width) = Window(*numbers), self.canvas.shape
        inside = found.x >= 0 and found.y >= 0 and min(found.width, found.height) >= 1
        if not inside or found.x + found.width > width or found.y + found.height > height:
            raise ValueError(
                f"expected a window within {width}x{height} pixels, got {found.width}x"
                f"{found.height} at ({found.x}, {found.y})"
            )
        return found


def open(  # noqa: A001
    path: str | os.PathLike,
    *,
    level: int = 0,
    max_pixels: int | None = MAX_PIXELS,
    implementation: str | Backend | None = None,
) -> SadFile:
    """Opens a ``.sad`` file for random access.

    A compact file is read in part: the base, a sixteenth of its sites, and the groups of 256 sites
    that a point or a window needs. The checksum of the head and the ends of the groups are checked,
    that of the whole file is not; ``load`` does that. Every read opens the file and closes it.

    Args:
      path: of the file, ending in ``.sad``.
      level: of detail; 0 is the whole picture, each level has half of the sites of the one before,
        and from 4 on the start of the file is enough. For thumbnails and for progress.
      max_pixels: refuses a larger canvas, as in ``load``.
      implementation: of searches and drawing, as in ``render``.

    Returns:
      A ``SadFile`` with ``query(points)`` and ``render(window)``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no whole ``.sad`` file.

    Examples:
      >>> import jax, jax.numpy as jnp, os, sad_jax as sad, tempfile
      >>> sites = sad.init_sites(jnp.ones((48, 64, 3)), 600, key=jax.random.key(0))
      >>> path = os.path.join(tempfile.mkdtemp(), "a.sad")
      >>> sad.save(path, sites, (48, 64), quality=6)
      >>> file = sad.open(path)
      >>> file.render((8, 8, 4, 2)).shape, file.query([[8.0, 8.0]]).shape
      ((2, 4, 3), (1, 3))
    """
    if check_suffix(path) != ".sad":
        raise ValueError(f"expected a .sad file to open, got {str(path)!r}")
    if Path(path).is_dir():
        raise ValueError(f"expected a .sad file to open, got a directory: {path}")
    if not Path(path).exists():
        raise FileNotFoundError(f"expected a .sad file to open, got no such file: {path}")

    def read(at: int, count: int) -> bytes:
        with Path(path).open("rb") as stream:
            stream.seek(at)
            return stream.read(count)

    size = os.path.getsize(path)
    try:
        return SadFile(
            read, size, level=level, max_pixels=max_pixels, implementation=implementation
        )
    except ValueError as error:
        raise ValueError(f"{error}: {path}") from error


def _rounded_up(count: int) -> int:
    """The next of the numbers with so many steps an octave."""
    step = max(1, (1 << max(count - 1, 1).bit_length()) // (2 * STEPS_AN_OCTAVE))
    return -(-count // step) * step
