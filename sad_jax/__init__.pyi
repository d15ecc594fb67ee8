# The names that users see, and where each comes from. Type checkers read this file, and
# __init__.py reads it to import a name at its first use.

from . import metrics as metrics
from . import priors as priors
from . import sharding as sharding
from . import tuning as tuning
from . import viz as viz
from .backend import Backend as Backend
from .backend import Engine as Engine
from .backend import engine as engine
from .coding.encode import encode as encode
from .coding.encode import save as save
from .coding.reader import SadFile as SadFile
from .coding.reader import open as open  # noqa: A004
from .draw.api import owners as owners
from .draw.api import query as query
from .draw.api import render as render
from .draw.api import resample as resample
from .fitting.batch import fit_batch as fit_batch
from .fitting.config import FitConfig as FitConfig
from .fitting.driver import fit as fit
from .fitting.many import fit_many as fit_many
from .fitting.recipe import FastRecipe as FastRecipe
from .fitting.recipe import PaperRecipe as PaperRecipe
from .fitting.result import FitResult as FitResult
from .fitting.workers import LocalWorkers as LocalWorkers
from .fitting.workers import LostWorker as LostWorker
from .lists.candidates import Candidates as Candidates
from .lists.exact import find_candidates as find_candidates
from .lists.flooding import flood_candidates as flood_candidates
from .lists.flooding import propagate as propagate
from .lists.flooding import seed_candidates as seed_candidates
from .model.canvas import Canvas as Canvas
from .model.sites import Sites as Sites
from .model.sites import clamp as clamp
from .model.sites import resize as resize
from .model.start import init_sites as init_sites
from .model.tangent import TrustRegion as TrustRegion
from .optimize.adam import Rates as Rates
from .optimize.adam import adam as adam
from .optimize.edits import refresh as refresh
from .optimize.ensemble import Ensemble as Ensemble
from .optimize.ensemble import minimize_ensemble as minimize_ensemble
from .optimize.gauss_newton import gauss_newton as gauss_newton
from .optimize.gauss_newton import linearized as linearized
from .optimize.loop import densify as densify
from .optimize.loop import make_state as make_state
from .optimize.loop import make_step as make_step
from .optimize.loop import minimize as minimize
from .optimize.loop import prune as prune
from .optimize.state import Progress as Progress
from .optimize.state import State as State
from .storage.files import load as load
from .storage.pictures import read_image as read_image
from .storage.pictures import write_image as write_image
from .storage.sad import decode as decode
from .storage.strips import PictureFile as PictureFile
from .storage.strips import open_image as open_image

__version__: str
