"""Sites to whole numbers: one field after another, while what is still free makes up for it.

The order is that of the format's steps, each of which depends on the fields before it: log2 tau,
anisotropy, angle, the coarser axis of the position, the finer one, radius, colours. After each, the
fields that are still free move by Gauss-Newton steps on exact lists (``relax.py``). When all that
moves the lists is rounded, the colours are solved, and then rounded in a few parts of the sites, of
which the last make up for the first.
"""

from __future__ import annotations

import jax
import numpy as np

from sad_jax.coding.relax import Relaxation
from sad_jax.model.sites import Sites
from sad_jax.model.tangent import ANGLE, ANISO, GEOMETRY, RADIUS, TAU, X, Y
from sad_jax.storage.compact.colors import from_planes, to_planes
from sad_jax.storage.compact.fixed import HALF_TURN, OCTAVE
from sad_jax.storage.compact.rules import (
    LIGHT,
    PIXEL,
    Rules,
    angle_of_level,
    nearest,
    nearest_level,
)

UNITS = OCTAVE / np.log(2)  # of a natural logarithm


class Draft:
    """Sites on their way to whole numbers.

    Attributes:
      numbers: counts of steps and levels by field, so far; also the cells ``x, y``.
      free: bool[6 + C, N], which parameters are not rounded yet.
      position, tau, radius, angle, aniso, color: float64, as they stand: pixels, and units of the
        format; angles in radians from 0 to below pi, colours from 0 to 1.
    """

    position: np.ndarray
    tau: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    aniso: np.ndarray
    color: np.ndarray

    def __init__(self, sites: Sites, rules: Rules, relaxation: Relaxation | None):
        """``sites``: colours in [0, 1]; without a relaxation fields are only rounded."""
        self.rules, self.relaxation = rules, relaxation
        self.numbers: dict[str, np.ndarray] = {}
        count, channels = np.shape(sites.color)
        self.free = np.ones((GEOMETRY + channels, count), bool)
        self._take(sites)

    def round_all(self) -> dict[str, np.ndarray]:
        """The numbers of all fields."""
        rules, numbers = self.rules, self.numbers
        numbers["tau"] = nearest(self.tau, rules.tau_step)
        tau = numbers["tau"] * rules.tau_step
        self.tau = tau.astype(float)
        self._fix(TAU)

        numbers["aniso"] = nearest(self.aniso, rules.aniso_step)
        aniso = numbers["aniso"] * rules.aniso_step
        self.aniso = aniso.astype(float)
        self._fix(ANISO)

        levels = rules.angles(tau, aniso)
        numbers["angle"] = nearest_level(self.angle, levels)
        angle = angle_of_level(numbers["angle"], levels)
        self.angle = angle * (np.pi / HALF_TURN)
        self._fix(ANGLE)

        levels_x, levels_y, fine_x = rules.places(tau, aniso, angle)
        for name in ("x", "y", "in_x", "in_y"):
            numbers[name] = np.zeros_like(tau)
        for finer in (False, True):
            self._round_position(X, levels_x, fine_x == finer)
            self._round_position(Y, levels_y, fine_x != finer)
            self._relax()

        step = rules.radius_step(tau)
        numbers["radius"] = np.maximum(nearest(self.radius - rules.least_radius, step), 0)
        radius = rules.least_radius + numbers["radius"] * step
        self.radius = radius.astype(float)
        self.free[RADIUS] = False
        self._round_colors(rules.color_step(radius))
        return numbers

    def _round_position(self, axis: int, levels: np.ndarray, which: np.ndarray) -> None:
        cell, place = self.rules.nearest_place(self.position[which, axis], levels[which])
        name = "xy"[axis]
        self.numbers[name][which], self.numbers[f"in_{name}"][which] = cell, place
        exact = self.rules.position(cell, place, levels[which])
        self.position[which, axis] = exact / PIXEL
        self.free[axis, which] = False

    def _round_colors(self, step: np.ndarray) -> None:
        count, channels = self.color.shape
        levels, relaxation = np.zeros((count, channels), np.int64), self.relaxation
        if relaxation is not None:
            self._take(relaxation.solve_colors(self.sites()))
        parts = 1 if relaxation is None else relaxation.effort.color_parts
        part = np.random.default_rng(0).integers(0, parts, count)
        for i in range(parts):
            own = part == i
            shown = np.clip(self.color[own], 0, 1)  # a decoder does the same
            levels[own] = nearest(to_planes(shown), step[own, None])
            self.color[own] = from_planes(levels[own] * step[own, None]) / LIGHT
            self.free[GEOMETRY:, own] = False
            if relaxation is not None and i + 1 < parts:
                self._take(relaxation.move_colors(self.sites(), self.free))
        self.numbers |= {f"color{i}": levels[:, i] for i in range(channels)}

    def _fix(self, row: int) -> None:
        self.free[row] = False
        self._relax()

    def _relax(self) -> None:
        if self.relaxation is not None:
            self._take(self.relaxation.move(self.sites(), self.free))

    def _take(self, sites: Sites) -> None:
        """What is free of the sites; round sites, and those of a negative a, turned upright."""
        fields = {name: np.asarray(value, np.float64) for name, value in vars(sites).items()}
        aniso, direction = fields["log_aniso"], fields["direction"]
        flipped = (aniso < 0) & self.free[ANISO]
        angle = np.arctan2(direction[:, 1], direction[:, 0]) + np.where(flipped, np.pi / 2, 0)
        new = {
            "position": fields["position"],
            "tau": fields["log_tau"] * UNITS,
            "radius": fields["radius"] * PIXEL,
            "angle": np.mod(angle, np.pi),
            "aniso": np.where(flipped, -aniso, aniso) * UNITS,
            "color": fields["color"],
        }
        rows = {"tau": TAU, "radius": RADIUS, "angle": ANGLE, "aniso": ANISO}
        free = {name: self.free[row] for name, row in rows.items()}
        free |= {"position": self.free[:2].T, "color": self.free[GEOMETRY:].T}
        for name, value in new.items():
            old = getattr(self, name, value)
            setattr(self, name, np.where(free[name], value, old))

    def sites(self) -> Sites:
        """The sites as they stand."""
        direction = np.stack([np.cos(self.angle), np.sin(self.angle)], axis=1)
        fields = {
            "position": self.position,
            "log_tau": self.tau / UNITS,
            "radius": self.radius / PIXEL,
            "color": self.color,
            "direction": direction,
            "log_aniso": self.aniso / UNITS,
        }
        return Sites(**{n: jax.device_put(np.asarray(v, np.float32)) for n, v in fields.items()})
