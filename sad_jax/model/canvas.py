"""Canvas: the size of a picture, and the K and cell size that belong to its definition."""

from __future__ import annotations

import dataclasses

from sad_jax.model.grid import Grid

MOST_SITES = 32  # in a list
CELLS = (1, 2, 4)  # pixels a side


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

    Raises:
      ValueError: a size below one pixel, or a K or cell out of range.

    Example:
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

    def __post_init__(self):
        shape = tuple(self.shape)
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"expected a canvas (H, W) of at least one pixel, got {shape}")
        if not 1 <= self.k <= MOST_SITES:
            raise ValueError(f"expected K from 1 to {MOST_SITES}, got {self.k}")
        if self.cell not in CELLS:
            raise ValueError(f"expected a cell of 1, 2 or 4 pixels a side, got {self.cell}")
        object.__setattr__(self, "shape", (int(shape[0]), int(shape[1])))
        object.__setattr__(self, "k", int(self.k))
        object.__setattr__(self, "cell", int(self.cell))

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
        """S of the formula: the longer side in pixels."""
        return max(self.shape)

    @property
    def grid(self) -> Grid:
        """How its cells are laid out."""
        return Grid(self.height, self.width, self.cell)
