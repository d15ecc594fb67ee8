"""FitConfig: what a fit is asked for."""

from __future__ import annotations

import dataclasses
import json
from numbers import Integral

from sad_jax.backend import NAMES
from sad_jax.coding.encode import QUALITY
from sad_jax.coding.rate import Aim, sites_for
from sad_jax.fitting.recipe import RECIPES, Recipe, recipe_of
from sad_jax.model.canvas import BITS_PER_SITE, Canvas
from sad_jax.optimize.least_squares import SLOPES

LOSSES = tuple(SLOPES)
DEFAULT_PIXELS_PER_SITE = 8
SUPERSAMPLING = (1, 2, 4)  # pixels a side of a square that is seen as one; they divide a frame's
MOST = 2**31 - 1  # of sites and steps, which are counted in int32
_POSITIVE = ("num_sites", "bpp", "seconds", "steps", "initial_sites")


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """What a fit is asked for: a budget, a recipe, and how long it may take.

    Attributes:
      num_sites: the budget N; or
      bpp: the budget as the paper's nominal rate, N = bpp H W / 128: 128 bits a site, of which a
        file takes about 45. With neither, one site per 8 pixels, or as many as make the best of
        ``file_bytes``.
      recipe: "fast" (Gauss-Newton) or "paper" (the published Adam recipe); or a ``FastRecipe`` or
        ``PaperRecipe`` with constants of your own.
      steps: optimiser steps; None takes the recipe's own number, or with ``seconds`` and recipe
        "fast" as many as there is time for.
      seconds: a time budget, in which compilation does not count. Recipe "fast" goes through its
        whole schedule in that time, at whatever pace; "paper" ends early.
      initial_sites: sites at the start, later thinned to the budget; None takes the recipe's own.
      k: sites in a list, 1 to 32.
      cell: pixels a side of a cell that shares a list: 1, 2 or 4.
      supersampling: s = 1, 2 or 4, for pictures that are to be enlarged. Every pixel of the photo
        is seen as the mean of s x s pixels of the sites' picture, which is s times as large, and so
        is the canvas of the result and its file; ``resample`` makes it small again, and figures are
        of that. Budgets and rates go on counting the photo's pixels. 2 takes 3 to 4 times as long.
      loss: of a pixel's error: "squared", or a robust one that down-weights outliers, "huber" or
        "cauchy" (both with a width of 0.05).
      implementation: of the passes over the picture: "xla", "cpu" or "pallas" (which raise where
        they do not run), or None to choose.
      padded: whether the fit computes on a canvas whose sides are multiples of 64 pixels, and with
        one of few numbers of sites, so that fits of many sizes share what is compiled. The result
        is the same up to rounding.
      quality: of the file, as in ``encode``: a number of dB or "lossless"; None takes the usual
        one, about 0.3 dB below the sites in float32. Instead of it, one of the following.
      file_bytes: the file has at most so many bytes, measured; the best quality for them.
      file_bpp: the same as a rate, file_bytes = file_bpp H W / 8.
      file_psnr: the file has at least this PSNR in dB, at about the least quality that has it.

    Examples:
      >>> import sad_jax as sad
      >>> config = sad.FitConfig(num_sites=1000, steps=50)
      >>> sad.FitConfig.from_json(config.to_json()) == config
      True
    """

    num_sites: int | None = None
    bpp: float | None = None
    recipe: str | Recipe = "fast"
    steps: int | None = None
    seconds: float | None = None
    initial_sites: int | None = None
    k: int = 8
    cell: int = 1
    supersampling: int = 1
    loss: str = "squared"
    implementation: str | None = None
    padded: bool = False
    quality: float | str | None = None
    file_bytes: int | None = None
    file_bpp: float | None = None
    file_psnr: float | None = None

    def __post_init__(self):
        if type(self.recipe) not in RECIPES.values() and self.recipe not in RECIPES:
            kinds = ", ".join(kind.__name__ for kind in RECIPES.values())
            raise ValueError(
                f"expected a recipe of {kinds} or a name of {tuple(RECIPES)}, got {self.recipe!r}"
            )
        if self.num_sites is not None and self.bpp is not None:
            raise ValueError(
                f"expected num_sites or bpp, got both: {self.num_sites} and {self.bpp}"
            )
        files = ("quality", "file_bytes", "file_bpp", "file_psnr")
        if len(given := [name for name in files if getattr(self, name) is not None]) > 1:
            raise ValueError(f"expected one of {files}, got {' and '.join(given)}")
        for name in (*_POSITIVE, "file_bytes", "file_bpp", "file_psnr"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"expected {name} above 0, got {value}")
        for name in ("num_sites", "steps", "initial_sites", "file_bytes"):
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool) and value <= MOST
            if value is not None and not whole:
                raise ValueError(f"expected {name} to be a whole number up to {MOST}, got {value}")
        if self.supersampling not in SUPERSAMPLING or isinstance(self.supersampling, bool):
            raise ValueError(f"expected supersampling of 1, 2 or 4, got {self.supersampling!r}")
        if self.loss not in LOSSES:
            raise ValueError(
                f"expected a loss of {LOSSES}, got {self.loss!r}; sad_jax.minimize takes any loss"
            )
        if self.implementation not in (None, *NAMES):
            raise ValueError(
                f"expected implementation None or one of {NAMES}, got {self.implementation!r}"
            )
        _ = self.canvas((1, 1))  # raises for a K or cell size out of range
        _ = self.aim((1, 1))  # raises for a quality out of range

    @classmethod
    def paper(cls, num_sites: int | None = None, **options) -> FitConfig:
        """The published recipe: 4,000 Adam steps, K = 8, cells of one pixel."""
        return cls(num_sites=num_sites, recipe="paper", **options)

    @property
    def constants(self) -> Recipe:
        """The recipe with its constants, also where it is given by its name."""
        return self.recipe if isinstance(self.recipe, Recipe) else RECIPES[self.recipe]()

    @property
    def most_steps(self) -> int:
        """Optimiser steps, at most."""
        usual = self.constants
        return self.steps or (MOST if self.seconds and usual.any_length else usual.steps)

    def canvas(self, shape: tuple[int, int]) -> Canvas:
        """The canvas of the sites of a photo of (H, W) pixels."""
        height, width = (self.supersampling * side for side in shape)
        return Canvas((height, width), k=self.k, cell=self.cell)

    def budget(self, shape: tuple[int, int]) -> int:
        """The number of sites of a picture of (H, W) pixels.

        Raises:
          ValueError: a budget of more than one site a pixel.
        """
        pixels = shape[0] * shape[1]
        if self.num_sites is not None:
            sites = self.num_sites
        elif self.bpp is not None:
            sites = max(1, round(min(self.bpp * pixels / BITS_PER_SITE, MOST)))
        elif (most := self.aim(shape).most_bytes) is not None:
            sites = min(sites_for(most), pixels)
        else:
            sites = max(1, pixels // DEFAULT_PIXELS_PER_SITE)
        if sites > pixels:
            raise ValueError(
                f"expected at most one site a pixel, {pixels} for {shape[1]}x{shape[0]}, "
                f"got {sites}"
            )
        return sites

    def aim(self, shape: tuple[int, int]) -> Aim:
        """What the file of a picture of (H, W) pixels should be."""
        most = self.file_bytes
        if self.file_bpp is not None:
            most = max(1, int(min(self.file_bpp * shape[0] * shape[1] / 8, MOST)))
        return Aim(QUALITY if self.quality is None else self.quality, most, self.file_psnr)

    def to_json(self) -> str:
        """The settings as a JSON object."""
        named = isinstance(self.recipe, str)
        recipe = self.recipe if named else self.constants.to_dict()
        return json.dumps(dataclasses.asdict(self) | {"recipe": recipe})

    @classmethod
    def from_json(cls, text: str) -> FitConfig:
        """Undoes ``to_json``.

        Raises:
          ValueError: text that is not the JSON object of a FitConfig.
        """
        try:
            fields = json.loads(text)
            if isinstance(fields.get("recipe"), dict):
                fields["recipe"] = recipe_of(fields["recipe"])
            return cls(**fields)
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"expected the JSON of a FitConfig, got {text!r}: {error}") from None
