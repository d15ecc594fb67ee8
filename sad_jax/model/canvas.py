"""Canvas: the size of a picture, and the K and cell size that belong to its definition.

Its ``Grid`` says how pixels, the cells that share a list, and blocks of cells lie in arrays. A cell
is a square of ``cell`` x ``cell`` pixels. Cells are numbered row by row and cut into blocks of
``lanes`` cells, small enough for the cache; the last block is padded with zeros. Within a block the
cell is the last, fastest axis, so that every operation is one long vector.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sad_jax.model.arguments import describe, whole_numbers

MOST_SITES = 32  # in a list
BITS_PER_SITE = 128  # nominal: how the paper counts a rate
CELLS = (1, 2, 4)  # pixels a side
LANES_STEP = 128  # blocks are padded to a multiple of this: programs of so many cells divide them


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The size of a picture, how many sites a pixel blends, and how many pixels share a list.

    All of it belongs to the picture's definition: two canvases are equal only if all of it is.
    Functions that take a canvas also take a plain ``(H, W)``, which means K = 8 and cells of one
    pixel.

    Attributes:
      shape: (H, W) in pixels.
      k: K, sites in a list, 1 to 32.
      cell: pixels a side of the square that shares a list: 1, 2 or 4.
      side: of a window of a larger picture, that picture's longer side, which is S of the formula;
        None for a whole picture.

    Raises:
      ValueError: a size below one pixel, or a K, cell or side out of range.

    Examples:
      >>> import sad_jax as sad
      >>> canvas = sad.Canvas((256, 384), k=8, cell=2)
      >>> canvas.height, canvas.width, canvas.pixels
      (256, 384, 98304)
      >>> canvas == sad.Canvas((256, 384), k=4, cell=2)
      False
    """

    shape: tuple[int, int]
    k: int = dataclasses.field(default=8, kw_only=True)
    cell: int = dataclasses.field(default=1, kw_only=True)
    side: int | None = dataclasses.field(default=None, kw_only=True, repr=False)

    def __post_init__(self):
        if any(isinstance(n, jax.core.Tracer) for n in jax.tree.leaves(vars(self))):
            raise ValueError(
                "expected a canvas that is known while JAX traces (jit with static_argnums, or "
                f"pass the lists of find_candidates), got {self.shape}"
            )
        shape, k, cell = map(whole_numbers, (self.shape, [self.k], [self.cell]))
        if shape is None or len(shape) != 2 or min(shape) < 1:
            raise ValueError(
                "expected a canvas (H, W) of at least one pixel, or a Canvas, "
                f"got {describe(self.shape)}"
            )
        if k is None or not 1 <= k[0] <= MOST_SITES:
            raise ValueError(f"expected K from 1 to {MOST_SITES}, got {describe(self.k)}")
        if cell is None or cell[0] not in CELLS:
            raise ValueError(
                f"expected a cell of 1, 2 or 4 pixels a side, got {describe(self.cell)}"
            )
        for name, value in {"shape": shape, "k": k[0], "cell": cell[0]}.items():
            object.__setattr__(self, name, value)
        side = None if self.side is None else whole_numbers([self.side])
        if self.side is not None and (side is None or side[0] < max(shape)):
            raise ValueError(
                f"expected a side of at least {max(shape)}, that of the window, "
                f"got {describe(self.side)}"
            )
        object.__setattr__(self, "side", side[0] if side and side[0] > max(shape) else None)

    @classmethod
    def of(
        cls, canvas: Canvas | tuple[int, int], *, k: int | None = None, cell: int | None = None
    ) -> Canvas:
        """A canvas from itself or from (H, W); ``k`` and ``cell``, where given, replace its own."""
        own = canvas if isinstance(canvas, Canvas) else cls(canvas)
        return cls(
            own.shape,
            k=own.k if k is None else k,
            cell=own.cell if cell is None else cell,
            side=own.side,
        )

    @property
    def height(self) -> int:
        return self.shape[0]

    @property
    def width(self) -> int:
        return self.shape[1]

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def size(self) -> int:
        """S of the formula: the longer side in pixels, of the whole picture."""
        return self.side or max(self.shape)

    @property
    def grid(self) -> Grid:
        """How its cells are laid out."""
        return Grid(self.height, self.width, self.cell, side=self.side)

    def band(self, count: int) -> Canvas:
        """One of ``count`` bands of as many whole rows of cells, the last ones perhaps beyond the
        picture; a window of it."""
        grid = self.grid.band(count)
        return dataclasses.replace(self, shape=(grid.height, grid.width), side=grid.side)


class Grid(NamedTuple):
    """The cells of a canvas: pixels a side of the picture and of a cell, and cells in a block.

    ``side``: as in ``Canvas``.
    """

    height: int
    width: int
    cell: int
    lanes: int = 8192
    side: int | None = None

    @property
    def rows(self) -> int:
        return -(-self.height // self.cell)

    @property
    def columns(self) -> int:
        return -(-self.width // self.cell)

    @property
    def size(self) -> int:
        """S of the formula, in pixels."""
        return self.side or max(self.height, self.width)

    @property
    def block(self) -> int:
        """Cells in a block, padding included."""
        return min(self.lanes, -(-self.rows * self.columns // LANES_STEP) * LANES_STEP)

    @property
    def blocks(self) -> int:
        return -(-self.rows * self.columns // self.block)

    def band(self, count: int) -> Grid:
        """That of ``Canvas.band``."""
        if count == 1:
            return self
        return self._replace(height=-(-self.rows // count) * self.cell, side=self.size)

    def split(self, per_cell: jax.Array) -> jax.Array:
        """[rows * columns, ...] -> [blocks, ..., lanes]."""
        padding = self.blocks * self.block - per_cell.shape[0]
        padded = jnp.pad(per_cell, [(0, padding)] + [(0, 0)] * (per_cell.ndim - 1))
        return jnp.moveaxis(padded.reshape(self.blocks, self.block, *per_cell.shape[1:]), 1, -1)

    def join(self, blocks: jax.Array) -> jax.Array:
        """[blocks, ..., lanes] -> [rows * columns, ...]."""
        per_cell = jnp.moveaxis(blocks, -1, 1)
        return per_cell.reshape(-1, *per_cell.shape[2:])[: self.rows * self.columns]

    def split_image(self, image: jax.Array) -> jax.Array:
        """[H, W, C] -> [blocks, cell * cell, C, lanes], zeros beyond the picture's edge."""
        n, (height, width, channels) = self.cell, image.shape
        padded = jnp.pad(
            image, [(0, self.rows * n - height), (0, self.columns * n - width), (0, 0)]
        )
        tiles = padded.reshape(self.rows, n, *padded.shape[1:])  # one axis at a time: what JAX
        tiles = tiles.reshape(*tiles.shape[:2], self.columns, n, channels)  # knows how to shard
        tiles = tiles.swapaxes(1, 2).reshape(self.rows * self.columns, n, n, channels)
        return self.split(tiles.reshape(-1, n * n, channels))

    def join_image(self, blocks: jax.Array) -> jax.Array:
        """[blocks, cell * cell, C, lanes] -> [H, W, C]."""
        n, channels = self.cell, blocks.shape[2]
        tiles = self.join(blocks).reshape(-1, n, n, channels)  # one axis at a time, as above
        tiles = tiles.reshape(self.rows, self.columns, n, n, channels).swapaxes(1, 2)
        image = tiles.reshape(self.rows * n, self.columns, n, channels)
        image = image.reshape(self.rows * n, self.columns * n, channels)
        return image[: self.height, : self.width]

    def corners(self) -> jax.Array:
        """int32[blocks, 2, lanes]: (x, y) of each cell's first pixel."""
        index = jnp.arange(self.rows * self.columns, dtype=jnp.int32)
        corner = jnp.stack([index % self.columns, index // self.columns], -1) * self.cell
        return self.split(corner)

    def offsets(self) -> list[tuple[int, int]]:
        """(x, y) of each pixel within its cell, in the order of ``split_image``."""
        return [(i % self.cell, i // self.cell) for i in range(self.cell * self.cell)]

    def cell_of(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Column and row int32[...] of the cells in which points float[..., 2] lie, or nearest."""

        def along(axis: int, count: int) -> jax.Array:
            cell = jnp.floor((points[..., axis] + 0.5) / self.cell)
            return jnp.clip(cell, 0, count - 1).astype(jnp.int32)

        return along(0, self.columns), along(1, self.rows)

    @property
    def center(self) -> float:
        """Offset from a cell's first pixel to its centre, where its list is found."""
        return (self.cell - 1) / 2
