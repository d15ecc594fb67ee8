"""What a fit minimises, and the sums over pixels that its optimisers need.

The loss is a weighted function of the squared error, averaged over pixels,

    L = sum_x v(x) rho(|e(x)|^2) / sum_x 1,        e = c - target, summed over channels,

with v = 1, a mask, or any weights >= 0. rho(s) = s is least squares. A robust rho grows more
slowly; it is minimised by reweighting (Holland and Welsch 1977): as rho is concave, L lies below
the weighted least squares with the weights v rho'(|e|^2) of the moment, and touches it there. So
every sum below is that of least squares with these weights; the gradient is exact. Gradient and
Gauss-Newton curvature are gathered in one pass over the cells, in the basis (phi, colour) of
``score.py``.

A fit may see a pixel of the photograph as the mean of s x s pixels of the picture c
(``Target.samples``). With the target y repeated over each square, and P, which puts every square's
mean in the place of its pixels, the error is e = P c - y. P is an orthogonal projection, and v and
rho' are alike within a square, so the gradient J'V e is that of single pixels compared with c - e:
the passes are told this picture in the target's place (``seen``). The Gauss-Newton matrix is J'VPJ.
That of single pixels, J'VJ, whose blocks are summed, lies above it, and preconditions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sad_jax.backend import XLA, Backend
from sad_jax.broadcasting import broadcasting
from sad_jax.draw.passes import (
    PicturePass,
    SitePass,
    blend_pictures,
    draw,
    pull_back,
    sum_over_pixels,
)
from sad_jax.lists.candidates import Candidates
from sad_jax.model import score as formula
from sad_jax.model.canvas import Grid
from sad_jax.model.score import Pixel, dot
from sad_jax.model.sites import Sites
from sad_jax.model.supersampling import repeated, shrunk
from sad_jax.model.tangent import site_gradient
from sad_jax.pytree import PyTree, static
from sad_jax.sharding import along_rows, padded_rows

HUBER_WIDTH = 0.05  # |e| up to which the loss is quadratic
SLOPES: dict[str, Callable[[jax.Array], jax.Array]] = {  # rho' of s = |e|^2
    "squared": jnp.ones_like,
    "huber": lambda s: HUBER_WIDTH * jax.lax.rsqrt(jnp.maximum(s, HUBER_WIDTH**2)),
    "cauchy": lambda s: 1 / (1 + s / HUBER_WIDTH**2),
}
ROBUST: dict[str, Callable[[jax.Array], jax.Array]] = {  # rho itself, where it is not s
    "huber": lambda s: jnp.where(
        s <= HUBER_WIDTH**2, s, 2 * HUBER_WIDTH * jnp.sqrt(s) - HUBER_WIDTH**2
    ),
    "cauchy": lambda s: HUBER_WIDTH**2 * jnp.log1p(s / HUBER_WIDTH**2),
}


class Errors(NamedTuple):
    """How far a picture is from its target, averaged over the weighted values.

    ``mse``: float[], v |e|^2; ``loss``: float[], v rho(|e|^2), which is the same for least squares;
    ``of_sites``: float[N], the part of the loss that each site has by its weights.
    """

    mse: jax.Array
    loss: jax.Array
    of_sites: jax.Array


class Target(PyTree):
    """The picture to fit, laid out in blocks of cells.

    ``image``: [blocks, cell * cell, C, lanes]; ``weight``: the same with one channel, zero beyond
    the picture's edge; ``scale``: 1 / number of pixels; ``values``: sum of weights times C;
    ``corner``: float[2], the last pixel (x, y), within which sites stay;
    ``mesh``: the devices over which the blocks lie, those of each band together, or None;
    ``samples``: pixels a side of the squares whose means are compared, see this module's head.
    """

    image: jax.Array
    weight: jax.Array
    scale: jax.Array
    values: jax.Array
    corner: jax.Array
    loss: str = static()
    backend: Backend = static()
    mesh: Mesh | None = static(default=None)
    samples: int = static(default=1)

    def picture(self, grid: Grid) -> jax.Array:
        """The picture float[H, W, C] that was laid out."""
        return _join(grid, self.mesh, self.image)


@partial(jax.jit, static_argnames=("grid", "loss", "backend", "mesh"))
def make_target(
    grid: Grid,
    image: jax.Array,
    weight: jax.Array | None = None,
    *,
    loss: str = "squared",
    backend: Backend = XLA,
    mesh: Mesh | None = None,
) -> Target:
    """Lays out float[H, W, C] and weights float[H, W] (all one if None).

    They may be smaller than the grid, in whose upper left corner they lie, and for a mesh have the
    rows of ``sharding.padded_rows``.
    """
    height, width = min(image.shape[0], grid.height), min(image.shape[1], grid.width)
    weight = jnp.ones((height, width), image.dtype) if weight is None else weight
    pictures = image, weight[..., None]
    rows = grid.height if mesh is None else padded_rows(grid, mesh)

    def lay_out(picture: jax.Array) -> jax.Array:
        room = (0, rows - picture.shape[0]), (0, grid.width - picture.shape[1]), (0, 0)
        padded = jnp.pad(picture, room)
        if mesh is None:
            return grid.split_image(padded)
        return along_rows(mesh, grid.band(mesh.size).split_image, padded)

    return Target(
        image=lay_out(pictures[0]),
        weight=lay_out(pictures[1]),
        corner=jnp.asarray([width - 1, height - 1], image.dtype),
        scale=jnp.asarray(1 / (height * width), image.dtype),
        values=jnp.sum(weight[:height]) * image.shape[2],
        loss=loss,
        backend=backend,
        mesh=mesh,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _join(grid: Grid, mesh: Mesh | None, blocks: jax.Array) -> jax.Array:
    if mesh is None:
        return grid.join_image(blocks)
    return along_rows(mesh, grid.band(mesh.size).join_image, blocks)[: grid.height]


def seen(sites: Sites, lists: Candidates, target: Target) -> Target:
    """The target whose pixels, compared one by one, have the errors of the means: c - e."""
    if target.samples == 1:
        return target
    picture, error = _picture_and_error(sites, lists, target)
    return target.replace(image=picture - error, samples=1)


def _picture_and_error(
    sites: Sites, lists: Candidates, target: Target
) -> tuple[jax.Array, jax.Array]:
    """c and e = P c - y, in blocks."""
    picture = draw(target.backend, sites, lists)
    blocks = lists.grid.split_image(picture)
    return blocks, _in_squares(target, lists.grid, picture) - target.image


def _in_squares(target: Target, grid: Grid, picture: jax.Array) -> jax.Array:
    """P of a picture float[H, W, C], in blocks."""
    return grid.split_image(repeated(shrunk(picture, target.samples), target.samples))


class Curvature(NamedTuple):
    """The block diagonal of J'VJ: of each site the products of its parameters with each other.

    In (phi, colour) as the passes sum it, or in tangents (``gauss_newton.curvature_in_tangents``).
    """

    geometry: jax.Array  # [6, 6, N]
    mixed: jax.Array  # [6, C, N]
    color: jax.Array  # [N], times the identity

    @property
    def diagonal(self) -> jax.Array:
        """float[6 + C, N]."""
        geometry = jnp.stack([self.geometry[i, i] for i in range(formula.PHI)])
        channels = self.mixed.shape[1]
        return jnp.concatenate(
            [geometry, jnp.broadcast_to(self.color, (channels, len(self.color)))]
        )

    def of_free(self, free: jax.Array) -> Curvature:
        """Blocks in tangents in which what is not free is coupled to nothing.

        Args:
          free: float[6 + C, N], 1 or 0.
        """
        own, color = free[: formula.PHI], free[formula.PHI :]
        kept = jnp.maximum(own[:, None] * own, jnp.eye(formula.PHI, dtype=free.dtype)[..., None])
        return self._replace(geometry=self.geometry * kept, mixed=self.mixed * own[:, None] * color)


def compare(
    name: str,
    sites: Sites,
    lists: Candidates,
    target: Target,
    entries: int,
    slots,
    *,
    blended=None,
    attached: jax.Array | None = None,
    numbers: tuple[float, ...] = (),
) -> jax.Array:
    """``sum_over_pixels`` of callbacks (Pixel, image, weight), tuples of C and 1 channels."""
    numbers = (HUBER_WIDTH, *numbers)
    pass_ = SitePass(name, entries, slots, blended, target.loss, numbers)
    target = seen(sites, lists, target)
    pictures = target.image, target.weight
    return sum_over_pixels(target.backend, sites, lists, pass_, *pictures, attached=attached)


def gradient(sites: Sites, lists: Candidates, target: Target) -> tuple[Errors, Sites]:
    """The errors, and dL/d sites."""
    found, sums = gradient_sums(sites, lists, target)
    return found, site_gradient(sites, lists.grid.size, 2 * target.scale * sums)


def gradient_sums(sites: Sites, lists: Candidates, target: Target) -> tuple[Errors, jax.Array]:
    """One pass: the errors, and sum v J'e in (phi, colour): L's gradient / (2 scale)."""
    slots = partial(_error_slots, loss=target.loss)
    entries = formula.PHI + sites.channels
    sums = compare("gradient", sites, lists, target, entries + _measures(target.loss), slots)
    return _errors(sums[entries:], target), sums[:entries]


def _measures(loss: str) -> int:
    """Entries of ``_error_slots`` that measure the error: |e|^2, and rho of it if it is another."""
    return 1 + (loss in ROBUST)


def _errors(shares: jax.Array, target: Target) -> Errors:
    """The errors from the shares of all sites, [measures, N]."""
    means = [jnp.sum(share) / target.values for share in shares]
    return Errors(means[0], means[-1], shares[-1] / target.values)


def errors(pixel: Pixel, image) -> list[jax.Array]:
    """e = c - target, C channels."""
    return [color - value for color, value in zip(pixel.color, image, strict=True)]


def effective_weight(pixel: Pixel, image, weight, loss: str) -> jax.Array:
    """v rho'(|e|^2): what the pixel weighs in the sums."""
    error = errors(pixel, image)
    return weight[0] * SLOPES[loss](dot(error, error))


def _error_slots(pixel: Pixel, image, weight, *, loss: str) -> list[jax.Array]:
    """sum v rho' J'e of a slot, and its shares of v |e|^2 and, if that is another, v rho."""
    error = errors(pixel, image)
    weighted = [effective_weight(pixel, image, weight, loss) * e for e in error]
    squared, share = dot(error, error), pixel.weights * weight[0]
    robust = [share * ROBUST[loss](squared)] if loss in ROBUST else []
    return [*formula.pull_back(pixel, weighted), share * squared, *robust]


@broadcasting
def gradient_and_curvature(
    sites: Sites, lists: Candidates, target: Target
) -> tuple[Errors, jax.Array, Curvature]:
    """One pass: as ``gradient_sums``, and the Gauss-Newton blocks of all sites.

    With residual e, weight v and the Jacobian J of a pixel's colour with respect to one site in
    (phi, colour), dc/dphi = w (c_i - c) and dc/dc_i = w I: gradient sum v J'e, curvature sum v J'J.

    Returns:
      The errors, the gradient [6 + C, N] and the curvature, both in (phi, colour).
    """
    channels, (rows, columns) = sites.channels, np.triu_indices(formula.PHI)
    place = np.zeros((formula.PHI, formula.PHI), int)  # of each entry in the upper triangle
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    measures = _measures(target.loss)
    ends = np.cumsum([formula.PHI + channels, measures, len(rows), formula.PHI * channels, 1])
    slots = partial(_curvature_slots, loss=target.loss)
    sums = compare("curvature", sites, lists, target, int(ends[-1]), slots)
    gradients, shares, upper, mixed, (color,) = jnp.split(sums, ends[:-1])
    mixed = mixed.reshape(formula.PHI, channels, -1)
    return _errors(shares, target), gradients, Curvature(upper[place], mixed, color)


def _curvature_slots(pixel: Pixel, image, weight, *, loss: str) -> list[jax.Array]:
    """``_error_slots``, then v rho' J'J: upper triangle of geometry, mixed, one for colours."""
    entries = pixel.phi
    contrast = pixel.contrast
    squared = effective_weight(pixel, image, weight, loss) * pixel.weights * pixel.weights
    both = squared * dot(contrast, contrast)
    scaled = [both * entry for entry in entries]
    mixed = [squared * c for c in contrast]
    return [
        *_error_slots(pixel, image, weight, loss=loss),
        *(scaled[i] * entries[j] for i in range(formula.PHI) for j in range(i, formula.PHI)),
        *(pull * entry for entry in entries for pull in mixed),
        squared,
    ]


@broadcasting
def change_of_picture(
    sites: Sites, lists: Candidates, target: Target, vector: jax.Array
) -> jax.Array:
    """sqrt(v rho') P J vector, for a vector in (phi, colour), or for two of them, in one pass.

    The product of two such pictures is the vectors' product with the Gauss-Newton matrix.

    Args:
      sites: N sites.
      lists: their lists.
      target: the picture they are compared with.
      vector: [6 + C, N], or two such, one after the other: [2 (6 + C), N].

    Returns:
      float[blocks, cell * cell, C, lanes], or [blocks, cell * cell, 2 C, lanes].
    """

    def weighted(color, change, image, weight):
        squared = jnp.sum((color - image) ** 2, axis=2, keepdims=True)
        return jnp.sqrt(weight * SLOPES[target.loss](squared)) * change

    entries = sites.channels * (len(vector) // (formula.PHI + sites.channels))
    pass_ = PicturePass(entries, _changes_of_color, weighted, target.loss, (HUBER_WIDTH,))
    compared = seen(sites, lists, target) if target.loss in ROBUST else target
    pictures = compared.image, compared.weight
    change = blend_pictures(target.backend, sites, lists, pass_, vector, *pictures)
    if target.samples == 1:
        return change
    return _in_squares(target, lists.grid, lists.grid.join_image(change))


def _changes_of_color(pixel: Pixel) -> list[jax.Array]:
    """What steps of one site do to the pixel's colour, over the site's weight.

    The steps, in (phi, colour), are attached to the site, one after the other.
    """
    entries, changes = formula.PHI + len(pixel.contrast), []
    for first in range(0, len(pixel.attached), entries):
        logit = dot(pixel.phi, pixel.attached[first : first + formula.PHI])
        own = pixel.attached[first + formula.PHI : first + entries]
        changes += [logit * c + color for c, color in zip(pixel.contrast, own, strict=True)]
    return changes


def color_product(sites: Sites, lists: Candidates, target: Target, colors: jax.Array) -> jax.Array:
    """W'VPW times colours [C, N]: a render and its transpose, with frozen weights."""
    if target.samples > 1:
        return _color_product_of_means(sites, lists, target, colors)

    def slots(pixel: Pixel, image, weight):
        scaled = pixel.weights * effective_weight(pixel, image, weight, target.loss)
        return [scaled * value for value in pixel.blended]

    blended = lambda pixel, *_: pixel.attached  # noqa: E731
    known = "color_product", sites, lists, target
    return compare(*known, len(colors), slots, blended=blended, attached=colors)


def _color_product_of_means(
    sites: Sites, lists: Candidates, target: Target, colors: jax.Array
) -> jax.Array:
    """``color_product`` in two passes, between which the means are taken."""
    still = jnp.zeros((formula.PHI, sites.num_sites), colors.dtype)
    change = change_of_picture(sites, lists, target, jnp.concatenate([still, colors]))
    weight = target.weight
    if target.loss in ROBUST:
        error = _picture_and_error(sites, lists, target)[1]
        weight = weight * SLOPES[target.loss](jnp.sum(error**2, axis=2, keepdims=True))
    sums = pull_back(target.backend, sites, lists, jnp.sqrt(weight) * change)
    return sums[formula.PHI :]


def color_right_side(sites: Sites, lists: Candidates, target: Target) -> jax.Array:
    """W'V (target - picture), [C, N], and the diagonal of W'VW in a last row."""

    def slots(pixel: Pixel, image, weight):
        scaled = pixel.weights * effective_weight(pixel, image, weight, target.loss)
        return [*(-scaled * e for e in errors(pixel, image)), scaled * pixel.weights]

    return compare("color_right_side", sites, lists, target, sites.channels + 1, slots)
