"""Gauss-Newton on the fields that are still free, while the others keep their rounded values."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from sad_jax.lists.candidates import Candidates, unknown_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.model.frame import Frame
from sad_jax.model.sites import Sites
from sad_jax.optimize.colors import solve_colors
from sad_jax.optimize.gauss_newton import scale_by_plane
from sad_jax.optimize.least_squares import Target
from sad_jax.optimize.rows import Rows, find_rows
from sad_jax.optimize.state import Best, State
from sad_jax.optimize.steps import run_gauss_newton

OPTIMIZER = scale_by_plane()
DAMPING = 0.1
COLOR_ITERATIONS = 20


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is done to make up for rounding.

    ``rounds``: after each field, each with exact lists of its own; ``steps``: in a round;
    ``color_parts``: in which the colours are rounded; ``color_steps``: after each but the last.
    """

    rounds: int = 2
    steps: int = 3
    color_parts: int = 3
    color_steps: int = 4


EFFORT = Effort()


@dataclasses.dataclass
class Relaxation:
    """Moves free fields so that the picture is as near to its target as it can be.

    ``target``: in [0, 1], of the picture in ``frame``; ``effort``: how much is done;
    ``lists``: the exact ones of the sites that were moved last, in the frame; ``rows``: of the
    optimiser's state, the same ones each time.
    """

    target: Target
    frame: Frame
    effort: Effort = EFFORT
    lists: Candidates | None = None
    rows: tuple[Rows, ...] | None = None

    def find_lists(self, sites: Sites) -> Candidates:
        """The exact lists, by the program that a fit has compiled."""
        return self._find_lists(self.frame.enter(sites))

    def move(self, sites: Sites, free: np.ndarray) -> Sites:
        """The sites after ``effort.rounds`` times ``effort.steps`` steps.

        Args:
          sites: N sites with colours in [0, 1].
          free: bool[6 + C, N], which parameters may move, in the order of a tangent.
        """
        state = self._start(sites)
        for _ in range(self.effort.rounds):
            state = self._run(state, free, self.effort.steps)
            state = state.replace(lists=self._find_lists(state.sites))
        return self.frame.leave(state.sites)

    def move_colors(self, sites: Sites, free: np.ndarray) -> Sites:
        """The sites after ``effort.color_steps`` steps of colours alone, which change no lists."""
        moved = self._run(self._start(sites), free, self.effort.color_steps)
        return self.frame.leave(moved.sites)

    def solve_colors(self, sites: Sites) -> Sites:
        """The colours of least error for the sites as they are, on their exact lists."""
        inside = self.frame.enter(sites)
        lists = self._find_lists(inside)
        solved, _ = solve_colors(inside, lists, self.target, iterations=COLOR_ITERATIONS)
        return self.frame.leave(solved)

    def _find_lists(self, inside: Sites) -> Candidates:
        near, canvas = self.lists, self.frame.canvas
        if near is None:
            near = unknown_lists(canvas, inside, self.target.mesh)
        backend = self.target.backend
        self.lists = find_candidates(inside, canvas, implementation=backend, near=near)
        return self.lists

    def _start(self, sites: Sites) -> State:
        """The state of a fit, so that its steps are those that a fit has compiled."""
        inside = self.frame.enter(sites)
        self.rows = self.rows or find_rows(OPTIMIZER, inside)
        return State(
            sites=inside,
            lists=self.lists or self._find_lists(inside),
            optimizer=jax.jit(OPTIMIZER.init)(inside),
            step=jax.device_put(np.int32(0)),
            rows=self.rows,
            best=Best.none_yet(inside),
        )

    def _run(self, state: State, free: np.ndarray, steps: int) -> State:
        options = {"free": self.frame.pad_rows(free), "count": free.shape[1], "test_last": True}
        return run_gauss_newton(state, self.target, steps, DAMPING, **options, optimizer=OPTIMIZER)
