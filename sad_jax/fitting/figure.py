"""The usual figure of a fitted picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from sad_jax import viz
from sad_jax.draw.api import render
from sad_jax.lists.exact import find_candidates
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.storage.pictures import displayed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 10.0  # inches
ROOM = 0.35  # for titles


def plot_result(
    sites: Sites,
    canvas: Canvas,
    psnr: float,
    history: dict[str, list[float]],
    photo: Float[ArrayLike, "H W C"] | None,
) -> Figure:
    """The picture, its owners and temperatures, the error if the photograph is given, and how the
    PSNR rose; colours and photo in [0, 1]."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("expected matplotlib (pip install 'sad-jax[notebooks]')") from error
    lists = find_candidates(sites, canvas)
    image = np.clip(render(sites, lists), 0, 1)
    pictures = {
        f"{sites.num_sites:,} sites, {psnr:.2f} dB": displayed(image),
        "owners": viz.diagram(sites, lists),
        "temperatures": viz.tau_map(sites, lists),
    }
    if photo is not None:
        pictures["error"] = viz.error_map(image, photo)
    columns = len(pictures)
    height = WIDTH / columns * canvas.height / canvas.width + ROOM
    figure = plt.figure(figsize=(WIDTH, height + 1.8), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=(height, 1.8))
    for i, (name, picture) in enumerate(pictures.items()):
        axis = figure.add_subplot(grid[0, i])
        axis.imshow(picture)
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    axis = figure.add_subplot(grid[1, :])
    axis.plot(history["step"], history["psnr"], "k.-", lw=1)
    axis.set(xlabel="step", ylabel="PSNR in the loop / dB")
    axis.spines[["right", "top"]].set_visible(False)
    plt.close(figure)  # a notebook shows what is returned, once
    return figure
