"""Soft Anisotropic Diagrams in JAX: explicit, differentiable, compact pictures of sites."""

from sad_jax import sharding
from sad_jax.batch import fit_batch
from sad_jax.candidates import Candidates, flood_candidates, propagate, seed_candidates
from sad_jax.canvas import Canvas
from sad_jax.config import FitConfig
from sad_jax.files import load, save
from sad_jax.fit import FitResult, fit
from sad_jax.init import init_sites
from sad_jax.minimize import (
    State,
    densify,
    make_state,
    make_step,
    minimize,
    prune,
    refresh,
)
from sad_jax.newton import newton
from sad_jax.optim import adam
from sad_jax.render import owners, query, render, resample
from sad_jax.search import find_candidates
from sad_jax.sites import Sites, resize

__version__ = "0.1.0"

__all__ = [
    "Candidates",
    "Canvas",
    "FitConfig",
    "FitResult",
    "Sites",
    "State",
    "adam",
    "densify",
    "find_candidates",
    "fit",
    "fit_batch",
    "flood_candidates",
    "init_sites",
    "load",
    "make_state",
    "make_step",
    "minimize",
    "newton",
    "owners",
    "propagate",
    "prune",
    "query",
    "refresh",
    "render",
    "resample",
    "resize",
    "save",
    "seed_candidates",
    "sharding",
]
