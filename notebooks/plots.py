"""What the notebooks draw with: one style, and pictures side by side."""

import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update(
    {
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 9,
        "figure.constrained_layout.use": True,
        "figure.dpi": 110,
        "font.size": 9,
        "image.cmap": "viridis",
        "legend.frameon": False,
        "lines.linewidth": 1,
    }
)


def show(pictures: dict, *, rows: int = 1, width: float = 9.0) -> np.ndarray:
    """Pictures side by side, under their names; numbers [H, W] get a scale. Returns the axes."""
    columns = -(-len(pictures) // rows)
    height, across = np.shape(next(iter(pictures.values())))[:2]
    size = width, rows * (width / columns * height / across + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis, (name, picture) in zip(axes.ravel(), pictures.items(), strict=True):
        picture = np.asarray(picture)
        drawn = axis.imshow(picture if picture.ndim == 2 else np.clip(picture, 0, 1))
        if picture.ndim == 2:
            bar = figure.colorbar(drawn, ax=axis, orientation="horizontal", shrink=0.8, aspect=30)
            bar.ax.tick_params(labelsize=7)
            bar.outline.set_visible(False)
        axis.set_title(name)
        axis.axis("off")
    return axes.ravel()


def curves(count: int = 1, *, width: float = 9.0, height: float = 2.4):
    """A row of axes for curves."""
    return plt.subplots(1, count, figsize=(width, height))[1]
