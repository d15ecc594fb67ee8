"""Canvas: the size of the picture and the list geometry that belongs to its definition."""

from __future__ import annotations


class Canvas(tuple[int, int]):
    """The pair (H, W), and the K and cell size with which the picture is decoded.

    It is a plain ``(H, W)`` to everything that wants a shape; ``find_candidates`` and ``save`` also
    read ``k`` and ``cell`` from it, so a loaded picture is rendered as it was stored.

    Example:
      >>> import sad_jax as sad
      >>> canvas = sad.Canvas((256, 384), k=8, cell=1)
      >>> canvas == (256, 384), canvas.k, canvas.cell
      (True, 8, 1)
    """

    k: int
    cell: int

    def __new__(cls, shape: tuple[int, int], *, k: int = 8, cell: int = 1) -> Canvas:
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"expected a canvas (H, W) of at least one pixel, got {tuple(shape)}")
        if not 1 <= k <= 32:
            raise ValueError(f"expected K from 1 to 32, got {k}")
        if cell not in (1, 2, 4):
            raise ValueError(f"expected a cell of 1, 2 or 4 pixels a side, got {cell}")
        self = super().__new__(cls, (int(shape[0]), int(shape[1])))
        self.k, self.cell = int(k), int(cell)
        return self

    def __getnewargs_ex__(self):
        return (tuple(self),), {"k": self.k, "cell": self.cell}

    def __repr__(self) -> str:
        return f"Canvas({tuple(self)}, k={self.k}, cell={self.cell})"
