"""Which sites to split and which to remove, and the split itself.

Statistics of all sites come from one pass over the picture; choosing and splitting are numpy, on
the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.lists.candidates import Candidates
from sad_jax.model.score import Pixel, dot
from sad_jax.model.sites import LOG_ANISO_RANGE, RADIUS_RANGE, Sites
from sad_jax.optimize.least_squares import Target, compare, effective_weight, errors
from sad_jax.sharding import at_pixels

ALONE = 0.9999  # a site of larger weight cannot be removed without leaving a hole ...
HOLE = 1e6  # ... so its removal costs this much a pixel
MASS_EXPONENT = 0.7


class Statistics(NamedTuple):
    """Of every site, over the pixels in whose lists it stands, each float[N].

    ``mass``: sum of w; ``energy``: sum of w |e|^2; ``removal``: how much the squared error grows
    when the site is taken out and its neighbours fill in; ``mean``: [N, 2], offset in pixels from
    the site to the error-weighted mean of its pixels; ``covariance``: [N, 2, 2], in pixels^2.
    """

    mass: np.ndarray
    energy: np.ndarray
    removal: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


@jax.jit
def _sums(sites: Sites, lists: Candidates, target: Target) -> jax.Array:
    def slots(pixel: Pixel, image, weight):
        error = errors(pixel, image)
        squared = dot(error, error)
        rest = jnp.maximum(1 - pixel.weights, 1 - ALONE)
        without = [e - pixel.weights / rest * c for e, c in zip(error, pixel.contrast, strict=True)]
        removal = jnp.where(pixel.weights > ALONE, HOLE, dot(without, without) - squared)
        energy = pixel.weights * squared
        x, y = pixel.x - pixel.rows.x, pixel.y - pixel.rows.y
        moments = [energy, energy * x, energy * y]
        moments += [energy * x * x, energy * x * y, energy * y * y]
        counts = effective_weight(pixel, image, weight, target.loss)
        return [counts * value for value in (pixel.weights, removal, *moments)]

    return compare("statistics", sites, lists, target, 8, slots, numbers=(ALONE, HOLE))


def statistics(sites: Sites, lists: Candidates, target: Target) -> Statistics:
    """One pass over the picture; see ``Statistics``."""
    mass, removal, energy, x, y, xx, xy, yy = np.asarray(_sums(sites, lists, target))
    total = np.maximum(energy, 1e-20)
    mean = np.stack([x, y], -1) / total[:, None]
    second = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2) / total[:, None, None]
    covariance = second - mean[:, :, None] * mean[:, None, :]
    return Statistics(mass, energy, removal, mean, covariance)


def worst(stats: Statistics, alive: np.ndarray, count: int) -> np.ndarray:
    """Ids of the ``count`` sites most worth a split: largest energy / mass^0.7, mass above 1."""
    score = stats.energy / np.maximum(stats.mass, 1) ** MASS_EXPONENT
    return largest(np.where(alive & (stats.mass > 1), score, -np.inf), count)


def cheapest(stats: Statistics, alive: np.ndarray, count: int) -> np.ndarray:
    """Ids of the ``count`` sites whose removal costs least."""
    return largest(np.where(alive, -stats.removal, -np.inf), count)


def worth_moving(stats: Statistics, alive: np.ndarray, prunes: int, most: int, worth: float) -> int:
    """How many sites to move, at most ``most``, besides the ``prunes`` cheapest that go anyway.

    The i-th cheapest site is moved to the i-th largest energy as long as its removal costs less
    than ``worth`` times that energy. A split saves only a part of the energy; but the neighbours
    adapt to a removal, so that it costs less than it seems to, and ``worth`` may exceed 1.
    """
    cost = np.sort(stats.removal[alive])[prunes : prunes + most]
    energy = np.sort(stats.energy[alive])[::-1][: len(cost)]
    too_dear = np.flatnonzero(cost >= worth * energy)
    return int(too_dear[0]) if len(too_dear) else len(cost)


def largest(score: np.ndarray, count: int) -> np.ndarray:
    """Ids of the ``count`` largest finite scores, largest first, ties by id.

    Of equal ones of which only some are taken, as many are taken everywhere: a fit starts with its
    sites in order of place, and no part of a plain ground shall lose them all.
    """
    ids = np.flatnonzero(np.isfinite(score))
    count = min(count, len(ids))
    if 0 < count < len(ids):  # sorting all of them takes ten times as long
        least = np.partition(score[ids], -count)[-count]
        above, ties = ids[score[ids] > least], ids[score[ids] == least]
        wanted = count - len(above)
        ids = np.sort(np.concatenate([above, ties[np.arange(wanted) * len(ties) // wanted]]))
    return ids[np.argsort(-score[ids], kind="stable")][:count]


def split(
    sites: Sites,
    stats: Statistics,
    image: np.ndarray | jax.Array,
    parents: np.ndarray,
    slots: np.ndarray,
) -> tuple[Sites, np.ndarray]:
    """Replaces each parent by two children along the main axis of its error.

    Children stand at +- clamp(sqrt(mass) / 2, 1.5, 48) px along the axis of the largest
    eigenvalue of the error-weighted covariance, around 0.4 p + 0.6 (error-weighted mean); they take
    the target's colour where they land, log_tau - 0.25, radius x 0.85, the axis as direction and
    log_aniso = clamp(-1/2 ln(lambda1 / lambda2), +-2).

    Args:
      sites: capacity N, on the host.
      stats: their statistics.
      image: float32[H, W, C], the target.
      parents: ids, each keeps one child.
      slots: as many free ids, each takes the other child.

    Returns:
      The edited sites, on the host, and the ids whose optimiser state must be cleared.
    """
    position = np.asarray(sites.position)
    values, vectors = np.linalg.eigh(stats.covariance[parents].astype(np.float64))
    values = np.maximum(values, 1e-4)
    axis = vectors[:, :, 1].astype(np.float32)
    center = position[parents] + 0.6 * stats.mean[parents]
    distance = np.clip(np.sqrt(np.maximum(stats.mass[parents], 1)) / 2, 1.5, 48)
    corner = np.asarray(image.shape[1::-1]) - 1
    log_aniso = np.clip(-0.5 * np.log(values[:, 1] / values[:, 0]), -2, 2)
    edited: dict[str, Any] = {name: np.array(field) for name, field in vars(sites).items()}
    for ids, sign in ((parents, 1), (slots, -1)):
        place = np.clip(center + sign * axis * distance[:, None], 0, corner)
        column, row = np.round(place).astype(int).T
        edited["position"][ids] = place
        edited["color"][ids] = at_pixels(image, row, column)
        edited["log_tau"][ids] = np.asarray(sites.log_tau)[parents] - 0.25
        edited["radius"][ids] = np.maximum(
            np.asarray(sites.radius)[parents] * 0.85, RADIUS_RANGE[0]
        )
        edited["direction"][ids] = axis
        edited["log_aniso"][ids] = np.clip(log_aniso, *LOG_ANISO_RANGE)
    return Sites(**edited), np.concatenate([parents, slots])
