"""Recipes: the constants of a fit. What they drive is in ``fast.py`` and ``paper.py``."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from sad_jax.model.tangent import TRUST_REGION, TrustRegion
from sad_jax.optimize.adam import RATES, Rates


@dataclasses.dataclass(frozen=True)
class Recipe(abc.ABC):
    """The constants of a fit: a frozen dataclass, hashable, with a JSON round trip.

    Attributes:
      steps: optimiser steps, unless the ``FitConfig`` says otherwise.
      pixels_per_initial_site: so many pixels have one site at the start.
      any_length: whether what it does next depends only on the share of the run that is over, so
        that a time budget sets the number of steps.
    """

    name: ClassVar[str]
    any_length: ClassVar[bool] = False

    steps: int
    pixels_per_initial_site: int

    def __post_init__(self):
        """Raises a ValueError for constants with which a fit would not go on."""
        for name, value in vars(self).items():
            counts = name in ("steps", "early_k") or name.endswith(("_every", "_late"))
            counts |= "initial" in name
            if counts and not value >= 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
            share = name.endswith(("_end", "_share")) and name != "damping_end"
            if share and not 0 < value <= 1:
                raise ValueError(f"expected {name} above 0 and at most 1, got {value}")

    def _check_multiple(self, name: str, of: str) -> None:
        """One event falls only on every so many of another."""
        value, unit = getattr(self, name), getattr(self, of)
        if value % unit:
            raise ValueError(f"expected {name} to be a multiple of {of}, {unit}, got {value}")

    @abc.abstractmethod
    def most_initial_sites(self, budget: int) -> int:
        """Sites at the start, at most, unless the settings ask for more."""

    def initial_sites(self, pixels: int, budget: int) -> int:
        """Sites at the start on a picture of so many pixels."""
        usual = max(1, pixels // self.pixels_per_initial_site)
        return min(usual, self.most_initial_sites(budget))

    def to_dict(self) -> dict[str, Any]:
        """The name and all fields, for JSON; ``recipe_of`` undoes it."""
        return {"name": self.name, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class FastRecipe(Recipe):
    """Gauss-Newton on exact lists, thinning, moves, colours last. Shares are of the run's steps.

    Attributes:
      steps: optimiser steps, unless the ``FitConfig`` says otherwise.
      pixels_per_initial_site: so many pixels have one site at the start ...
      overshoot: ... but there are at most so many times the budget.
      thinning_end: share at which the budget is reached.
      moved: most sites moved at once, as a share of all; it falls to none at ``moves_end``.
      moves_end: share after which no site is moved.
      moves_every: steps between two moves; a multiple of ``lists_every``.
      worth: a site is moved where its removal costs less than so many times the energy of the site
        that is split.
      damping_start, damping_end: of a step, relative to the diagonal of the curvature.
      lists_every: steps on one set of exact lists ...
      lists_every_late: ... and near the end of the run.
      late: share of the run from which ``lists_every_late`` applies.
      curvature_every: steps on one curvature; new lists bring a new one, too.
      early_k: sites in a list at first, if that is fewer than the picture's; up to ``early_k_end``.
      early_k_end: share from which lists are as long as the picture's.
      softest: largest tau / S at the start, times the mean distance of the budget's sites.
      soft_end: share up to which the largest tau / S rises, evenly in ratio, to ``SHARPEST``.
      color_iterations: of conjugate gradients, for the colours at the end; 0 leaves them.
      blocks: whether a site's whole block of the curvature preconditions, or its diagonal alone.
      use_last_step: whether a step may also go along the last one.
      measured_every: of so many sets of lists, on one at least the length of every step is measured
        by a pass; on the others, those after the first step are guessed (``gauss_newton.py``).
      trust_region: how far one step may change a site.

    Examples:
      >>> import sad_jax as sad
      >>> recipe = sad.FastRecipe(steps=100, lists_every=2)
      >>> config = sad.FitConfig(num_sites=1000, recipe=recipe)
      >>> sad.FitConfig.from_json(config.to_json()).recipe == recipe
      True
    """

    name: ClassVar[str] = "fast"
    any_length: ClassVar[bool] = True

    steps: int = 400
    pixels_per_initial_site: int = 6
    overshoot: int = 5
    thinning_end: float = 0.2
    moved: float = 0.15
    moves_end: float = 0.9
    moves_every: int = 30
    worth: float = 3.0
    damping_start: float = 1.0
    damping_end: float = 0.1
    lists_every: int = 3
    lists_every_late: int = 1
    late: float = 0.95
    curvature_every: int = 3
    early_k: int = 4
    early_k_end: float = 0.5
    softest: float = 2.0
    soft_end: float = 0.65
    color_iterations: int = 20
    blocks: bool = True
    use_last_step: bool = True
    measured_every: int = 4
    trust_region: TrustRegion = TRUST_REGION

    def __post_init__(self):
        super().__post_init__()
        self._check_multiple("moves_every", of="lists_every")

    def most_initial_sites(self, budget: int) -> int:
        return self.overshoot * budget


@dataclasses.dataclass(frozen=True)
class PaperRecipe(Recipe):
    """The published recipe: Adam, splits and prunings, propagated lists.

    Attributes:
      steps: optimiser steps, unless the ``FitConfig`` says otherwise.
      pixels_per_initial_site: so many pixels have one site at the start (3 is about the published
        start on a Kodak picture) ...
      initial_limit: ... but there are at most so many.
      split_every, split_start, split_share: every so many steps, from so many on, this share of the
        sites is split, times the factor that meets the budget.
      prune_every, prune_start, prune_share: the same for removals; ``prune_every`` is a multiple of
        ``split_every``.
      density_end: share of the run after which no site is split or removed.
      most_share: the most that one event splits or prunes, as a share of all sites.
      growth: the most sites there may be at once, over those at the start.
      lists_every: steps between two propagation passes.
      exact_every: steps between two corrections by exact lists, after ``density_end``; it is a
        multiple of ``split_every``.
      rates: the optimiser's learning rates.

    Examples:
      >>> import sad_jax as sad
      >>> sad.FitConfig(num_sites=50, recipe=sad.PaperRecipe(growth=1.5)).recipe.steps
      4000
    """

    name: ClassVar[str] = "paper"

    steps: int = 4000
    pixels_per_initial_site: int = 3
    initial_limit: int = 128_000
    split_every: int = 20
    split_start: int = 20
    split_share: float = 0.01
    prune_every: int = 40
    prune_start: int = 100
    prune_share: float = 0.033
    density_end: float = 0.75
    most_share: float = 0.95
    growth: float = 1.25
    lists_every: int = 8
    exact_every: int = 100
    rates: Rates = RATES

    def __post_init__(self):
        super().__post_init__()
        self._check_multiple("prune_every", of="split_every")
        self._check_multiple("exact_every", of="split_every")

    def most_initial_sites(self, budget: int) -> int:
        return self.initial_limit


RECIPES: dict[str, type[FastRecipe | PaperRecipe]] = {"fast": FastRecipe, "paper": PaperRecipe}


def recipe_of(fields: dict[str, Any]) -> Recipe:
    """The recipe of ``Recipe.to_dict``; raises a KeyError or TypeError where there is none."""
    fields = dict(fields)
    recipe = RECIPES[fields.pop("name")]
    for name, kind in (("trust_region", TrustRegion), ("rates", Rates)):
        if name in fields:
            fields[name] = kind(**fields[name])
    return recipe(**fields)
