"""The usual figure of a fitted picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from sad_jax import viz
from sad_jax.draw.api import render
from sad_jax.lists.exact import find_candidates
from sad_jax.storage.pictures import displayed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sad_jax.fitting.result import FitResult

WIDTH = 10.0  # inches
ROOM = 0.35  # for titles


def plot_result(result: FitResult, photo: Float[ArrayLike, "H W C"] | None) -> Figure:
    """The picture, its owners and temperatures, the error if the photograph is given, and how the
    PSNR rose."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("expected matplotlib (pip install 'sad-jax[notebooks]')") from error
    values = result.value_range
    shown = result.sites.replace(color=values.to_unit(result.sites.color))
    lists = find_candidates(shown, result.canvas)
    image = np.clip(render(shown, lists), 0, 1)
    pictures = {
        f"{shown.num_sites:,} sites, {result.psnr:.2f} dB": displayed(image),
        "owners": viz.diagram(shown, lists),
        "temperatures": viz.tau_map(shown, lists),
    }
    if photo is not None:
        pictures["error"] = viz.error_map(image, values.to_unit(photo))
    columns = len(pictures)
    height = WIDTH / columns * result.canvas.height / result.canvas.width + ROOM
    figure = plt.figure(figsize=(WIDTH, height + 1.8), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=(height, 1.8))
    for i, (name, picture) in enumerate(pictures.items()):
        axis = figure.add_subplot(grid[0, i])
        axis.imshow(picture)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    axis = figure.add_subplot(grid[1, :])
    axis.plot(result.history["step"], result.history["psnr"], "k.-", lw=1)
    axis.set(xlabel="step", ylabel="PSNR in the loop / dB")
    axis.spines[["right", "top"]].set_visible(False)
    plt.close(figure)  # a notebook shows what is returned, once
    return figure
