"""The base steps of a picture, from what its sites' numbers are worth, and from a quality.

With the diagonal h of J'J, an error of one step s, evenly spread, adds h s^2 / 12 to the squared
error of the picture. The base steps are such that every field adds as much, times a factor that was
found to balance them better once the encoder makes up for rounding, and that all of them add what
the quality says: so many decibels below the error that the picture has anyway.
"""

from __future__ import annotations

import math

import jax
import numpy as np

from sad_jax.lists.candidates import Candidates
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.optimize.gauss_newton import curvature_in_tangents
from sad_jax.optimize.least_squares import Target, gradient_and_curvature
from sad_jax.storage.compact.fixed import OCTAVE
from sad_jax.storage.compact.rules import LIGHT, PIXEL, PIXEL_BITS, Steps

ASSUMED_ERROR = 1e-4  # mean squared, without a target: 40 dB
BALANCE = {"tau": 1.25, "aniso": 1.6, "angle": 1.5, "place": 0.85, "radius": 1.05, "color": 0.78}
FINENESS = 16  # codes of a step in an octave
LARGEST_CODE = 255
_ROUNDED = 0.999  # share of the sites whose shape of a step counts in full


def cell_bits(canvas: Canvas, num_sites: int) -> int:
    """log2 of a cell's side in units of a length: about half of the sites' mean distance."""
    spacing = math.sqrt(canvas.pixels / num_sites)
    return max(0, math.floor(math.log2(spacing / 2) + 0.3) + PIXEL_BITS)


def base_steps(
    sites: Sites, lists: Candidates, target: Target, quality: float, error: float | None = None
) -> Steps:
    """The steps for a quality in dB.

    Args:
      sites: N sites with colours in [0, 1], and free slots.
      lists: their exact lists.
      target: the picture; its weights count.
      quality: how far below the picture's error, in dB, plain rounding would stay.
      error: the picture's mean squared error, if it is not that against the target.
    """
    found, in_phi, in_tangents = jax.device_get(_curvature(sites, lists, target))
    alive, sites = sites.known_alive, sites.compact()
    in_phi, in_tangents = in_phi[..., alive], in_tangents[..., alive]
    worth, shape = _worth(sites, lists.canvas.size, in_phi, in_tangents), _shapes(sites, lists)
    steps = {}
    for name, value in worth.items():
        squared = shape[name] ** 2
        weighed = np.mean(value * np.minimum(squared, np.quantile(squared, _ROUNDED)))
        steps[name] = 1 / math.sqrt(max(float(weighed), 1e-12))
    steps["place"] = math.sqrt(steps.pop("along") * steps.pop("across"))
    error = max(float(found.mse) if error is None else error, 1e-12)
    numbers = len(steps) + sites.channels
    allowed = error * float(target.values) * 10 ** (-quality / 10)
    size = math.sqrt(12 * allowed / (numbers * sites.num_sites))
    logs = {name: math.log2(step * BALANCE[name] * size) for name, step in steps.items()}
    units = {"tau": OCTAVE / math.log(2), "place": PIXEL, "radius": PIXEL, "color": LIGHT}
    units["aniso"] = units["tau"]
    codes = {name: logs[name] + math.log2(unit) for name, unit in units.items()}
    codes["angle"] = math.log2(math.pi) - logs["angle"]
    limited = {name: round(FINENESS * min(max(code, 0), 16)) for name, code in codes.items()}
    return Steps(**{name: min(code, LARGEST_CODE) for name, code in limited.items()})


@jax.jit
def _curvature(sites: Sites, lists: Candidates, target: Target):
    errors, _, curvature = gradient_and_curvature(sites, lists, target)
    tangents = curvature_in_tangents(sites, lists.grid.size, curvature)
    return errors, curvature.geometry, tangents.diagonal


def _worth(sites: Sites, size: int, in_phi: np.ndarray, diagonal: np.ndarray) -> dict:
    """h of each field; of a position along the axis of its site and across it."""
    slope = np.exp(np.asarray(sites.log_tau, np.float64)) / size
    aniso = np.asarray(sites.log_aniso, np.float64)
    return {
        "along": (slope * np.exp(aniso / 2)) ** 2 * in_phi[0, 0],
        "across": (slope * np.exp(-aniso / 2)) ** 2 * in_phi[1, 1],
        "tau": diagonal[2],
        "radius": diagonal[3],
        "angle": diagonal[4],
        "aniso": diagonal[5],
        "color": diagonal[6],
    }


def _shapes(sites: Sites, lists: Candidates) -> dict:
    """The steps of each site over the base step, as ``Rules`` has them."""
    slope = np.exp(np.asarray(sites.log_tau, np.float64)) / lists.canvas.size
    aniso = np.asarray(sites.log_aniso, np.float64)
    radius = np.clip(np.asarray(sites.radius, np.float64), 1, 32)
    one = np.ones_like(slope)
    return {
        "along": slope**-0.5 * np.exp(-aniso / 2),
        "across": slope**-0.5 * np.exp(aniso / 2),
        "tau": one,
        "radius": slope**-0.5,
        "angle": slope**-0.2 / np.maximum(np.sinh(abs(aniso)), 0.05),
        "aniso": one,
        "color": radius**-0.8,
    }
