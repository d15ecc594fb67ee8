"""What several tests share: random sites, the model in float64 numpy, every pass by any backend."""

import gc
import importlib.util
import mmap
import os
import tempfile
from collections import Counter
from functools import cached_property, partial
from pathlib import Path

# All workers and subprocesses of a run share what they compile: in a folder that the run makes and
# removes, or in one that is named beforehand. JAX reads these when it is imported.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    CACHE = tempfile.TemporaryDirectory(prefix="sad-jax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# They share the bytecode of modules, too, also where the environment (as in many containers) keeps
# Python from storing it: each of them would spend seconds on compiling what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests compile much and run little of it: with these, compiling takes a quarter of the time. XLA
# aborts at a flag that it does not know, so they are looked for in its library; a plugin for GPUs
# has one of its own, which does not know them all.
if "XLA_FLAGS" not in os.environ and importlib.util.find_spec("jax_plugins") is None:
    QUICKER = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": "false"}
    for path in Path(importlib.util.find_spec("jaxlib").origin).parent.glob("libjax_common.*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            known = [name for name in QUICKER if text.find(name.encode()) >= 0]
        os.environ["XLA_FLAGS"] = " ".join(f"--{name}={QUICKER[name]}" for name in known)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kernels_cpu
import sad_jax as sad
from kernels_cpu import library
from kernels_pallas import INTERPRETED
from sad_jax.backend import Backend
from sad_jax.lists.candidates import Candidates, new_lists
from sad_jax.model import score as formula
from sad_jax.model.sites import Sites
from sad_jax.model.tangent import chain_matrix
from sad_jax.optimize import density, least_squares
from sad_jax.optimize.least_squares import make_target

# modules whose examples fit, minimise or start a process
SLOW_EXAMPLES = ("driver.py", "batch.py", "encode.py", "ensemble.py", "loop.py", "many.py")
SLOW_EXAMPLES += ("reader.py", "workers.py")


def pytest_collection_modifyitems(items) -> None:
    """Examples of docstrings cannot be marked where they stand."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.path.name in SLOW_EXAMPLES:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """The garbage collector skips what is imported by now, and looks for more at a time.

    Tracing makes so many short-lived objects that it took a fifteenth of the time before.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the files that tests read."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def make_sites():
    """Random sites, reproducible and in range: ``make_sites(n, channels=3, shape=(12, 16))``."""

    def make(n: int, channels: int = 3, shape: tuple[int, int] = (12, 16), seed: int = 0) -> Sites:
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi, n)
        fields = {
            "position": rng.uniform(0, [shape[1] - 1, shape[0] - 1], (n, 2)),
            "log_tau": rng.uniform(3, 8, n),
            "radius": rng.uniform(1, 6, n),
            "color": rng.uniform(0, 1, (n, channels)),
            "direction": np.stack([np.cos(angle), np.sin(angle)], -1),
            "log_aniso": rng.uniform(-2, 2, n),
        }
        return Sites(**{name: np.asarray(field, np.float32) for name, field in fields.items()})

    return make


class Reference:
    """The formulas of the model, each as written in the paper, in float64, over all sites."""

    def distances(self, sites: Sites, points: np.ndarray, size: int) -> np.ndarray:
        """d [M, N] of points [M, 2]: a quadratic form with M = e^a u u' + e^-a (I - u u')."""
        sites = self.double(sites)
        u = sites.direction / np.maximum(np.linalg.norm(sites.direction, axis=1), 1e-15)[:, None]
        outer = u[:, :, None] * u[:, None, :]
        a = sites.log_aniso[:, None, None]
        metric = np.exp(a) * outer + np.exp(-a) * (np.eye(2) - outer)
        (xx, xy), (_, yy) = np.moveaxis(metric, 0, -1)
        x, y = np.asarray(points, np.float64).T[..., None] - sites.position.T[:, None]
        form = xx * x * x + 2 * xy * x * y + yy * y * y
        return np.sqrt(np.maximum(form / size**2, 1e-8))

    def scores(self, sites: Sites, points: np.ndarray, size: int) -> np.ndarray:
        """tau (d - r / S), [M, N]."""
        sites = self.double(sites)
        return np.exp(sites.log_tau) * (self.distances(sites, points, size) - sites.radius / size)

    def rounding(self, sites: Sites, points: np.ndarray, size: int) -> np.ndarray:
        """How far a float32 score may be from the true one, [M, N]."""
        sites = self.double(sites)
        terms = self.distances(sites, points, size) + np.abs(sites.radius) / size
        reach = np.exp(np.abs(sites.log_aniso) / 2) * np.abs(points).max(initial=1) / size
        return 4e-6 * np.exp(sites.log_tau) * (terms + 0.1 * reach)

    def centers(self, shape: tuple[int, int], cell: int = 1) -> np.ndarray:
        """(x, y) of the centres of all cells, row by row, [M, 2]."""
        y, x = np.mgrid[0 : shape[0] : cell, 0 : shape[1] : cell]
        return np.stack([x, y], -1).reshape(-1, 2) + (cell - 1) / 2

    def weights(self, sites: Sites, points: np.ndarray, ids: np.ndarray, size: int) -> np.ndarray:
        """Softmax over the lists [M, K] of the points, [M, K]."""
        logit = -np.take_along_axis(self.scores(sites, points, size), ids, 1)
        weight = np.exp(logit - logit.max(1, keepdims=True))
        return weight / weight.sum(1, keepdims=True)

    def render(self, sites: Sites, lists) -> np.ndarray:
        """The picture [H, W, C] from the lists of a ``Candidates``."""
        points, ids = self.pixels(lists)
        weights = self.weights(sites, points, ids, lists.canvas.size)
        colors = np.asarray(sites.color, np.float64)[ids]
        return np.einsum("mk,mkc->mc", weights, colors).reshape(*lists.canvas.shape, -1)

    def lists(self, sites: Sites, shape: tuple[int, int], k: int = 8, cell: int = 1) -> Candidates:
        """The exact lists: of all sites the K of least score at a cell's centre, ties by id."""
        scores = self.scores(sites, self.centers(shape, cell), max(shape))
        ids = np.argsort(scores, axis=1, kind="stable")[:, :k].astype(np.int32)
        ids = jnp.asarray(ids.reshape(-(-shape[0] // cell), -(-shape[1] // cell), -1))
        return new_lists(ids, sad.Canvas(shape, k=k, cell=cell), sites)

    def pixels(self, lists) -> tuple[np.ndarray, np.ndarray]:
        """Centres [M, 2] of all pixels and the lists [M, K] of their cells."""
        points = self.centers(lists.canvas.shape)
        column, row = (points // lists.canvas.cell).astype(int).T
        return points, np.asarray(lists.ids)[row, column]

    def check_exact(self, sites: Sites, lists) -> None:
        """Asserts that every list holds the K least scores in order, as far as float32 can tell."""
        size = lists.canvas.size
        points = self.centers(lists.canvas.shape, lists.canvas.cell)
        scores = self.scores(sites, points, size)
        room = self.rounding(sites, points, size)
        found = np.asarray(lists.ids).reshape(len(points), -1)
        best = np.argsort(scores, axis=1, kind="stable")[:, : found.shape[1]]
        of = lambda table, ids: np.take_along_axis(table, ids, 1)  # noqa: E731
        error = np.abs(of(scores, found) - of(scores, best))
        allowed = np.where(found == best, 0, of(room, found) + of(room, best))
        assert (error <= allowed).all(), (error - allowed).max()
        assert np.mean(found == best) > 0.995
        assert (np.diff(np.sort(found, 1), axis=1) > 0).all(), "a site twice in a list"

    def double(self, sites: Sites) -> Sites:
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), sites)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The model in float64 numpy, independent of the package's formulas."""
    return Reference()


@pytest.fixture(scope="session")
def make_case(make_sites, reference):
    """``make_case(shape, sites, channels, k, cell)``: what ``run_pass`` takes."""

    def make(shape, n, channels, k, cell):
        """Sites, lists, a picture with some pixels of weight zero, and a tangent."""
        rng = np.random.default_rng(1)
        sites = make_sites(n, channels, shape)
        lists = reference.lists(sites, shape, k, cell)
        image = jnp.asarray(rng.uniform(size=(*shape, channels)), jnp.float32)
        weight = jnp.asarray(rng.uniform(size=shape) * (rng.uniform(size=shape) > 0.2), jnp.float32)
        vector = jnp.asarray(rng.normal(size=(6 + channels, n)), jnp.float32)
        return sites, lists, image, weight, vector

    return make


def pull_back(sites, lists, target, _):
    """The picture, and the gradient of its product with the target."""
    draw = partial(sad.render, lists=lists, implementation=target.backend)
    picture, pull = jax.vjp(draw, sites)
    return picture, pull(lists.grid.join_image(target.image))[0]


def colors(sites, lists, target, vector):
    known = sites, lists, target
    product = least_squares.color_product(*known, vector[6:])
    return product, least_squares.color_right_side(*known)


PASSES = {
    "pull back": pull_back,
    "gradient": lambda s, c, t, v: least_squares.gradient(s, c, t),
    "curvature": lambda s, c, t, v: least_squares.gradient_and_curvature(s, c, t),
    "change": lambda s, c, t, v: least_squares.change_of_picture(s, c, t, v),
    "changes": lambda s, c, t, v: least_squares.change_of_picture(
        s, c, t, jnp.concatenate([v, v[::-1]])
    ),
    "colors": colors,
    "statistics": lambda s, c, t, v: density._sums(s, c, t),
}


@pytest.fixture(scope="session")
def run_pass():
    """``run_pass(*case, name=, backend=, loss=)``: one of the passes, by one backend."""

    @partial(jax.jit, static_argnames=("name", "backend", "loss"))
    def run(sites, lists, image, weight, vector, *, name, backend, loss="squared"):
        options = {"backend": backend, "loss": loss}
        target = least_squares.make_target(lists.grid, image, weight, **options)
        return PASSES[name](sites, lists, target, vector)

    return run


ENGINES = {"pallas": Backend("pallas", INTERPRETED), "cpu": Backend("cpu")}


@pytest.fixture
def cpu_engine() -> Backend:
    """The CPU engine; skips where it is not built, or arrays lie on a GPU."""
    if reason := kernels_cpu.why_not_built():
        pytest.skip(reason)
    if jax.default_backend() != "cpu":
        pytest.skip(f"arrays lie on {jax.devices()[0]}")
    return ENGINES["cpu"]


@pytest.fixture
def not_built(monkeypatch, tmp_path):
    """A machine on which the CPU engine was not built; the folder where it would be."""
    monkeypatch.setattr(kernels_cpu, "__path__", [str(tmp_path)])
    library.loaded.cache_clear()
    yield tmp_path
    library.loaded.cache_clear()


@pytest.fixture(params=[pytest.param("pallas", marks=pytest.mark.slow), "cpu"])
def engine(request) -> Backend:
    """What is not XLA: kernels on a GPU, interpreted, and the CPU engine where it is built.

    Interpreted kernels are slow, but for some cases of a test that names its engines itself.
    """
    return request.getfixturevalue("cpu_engine") if request.param == "cpu" else ENGINES["pallas"]


class Problem:
    """A small picture to fit, and the dense Jacobian of its drawing, in float64 unless told."""

    def __init__(self, make_sites, reference, shape, channels, cell, weighted, dtype=np.float64):
        rng = np.random.default_rng(2)
        self.shape, self.channels, self.dtype = shape, channels, dtype
        sites = make_sites(6, channels, shape)
        self.sites = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), sites)
        self.lists = reference.lists(self.sites, shape, 4, cell)
        self.grid = self.lists.grid
        self.image = rng.uniform(size=(*shape, channels)).astype(dtype)
        weight = rng.uniform(0, 2, shape) * (rng.uniform(size=shape) > 0.3)
        self.weight = (weight if weighted else np.ones(shape)).astype(dtype)
        self.weighted = weighted

    @property
    def arguments(self):
        """Sites, lists and target, as the sums over pixels take them."""
        weight = jnp.asarray(self.weight) if self.weighted else None
        target = make_target(self.grid, jnp.asarray(self.image), weight)
        return self.sites, self.lists, target

    def loss(self, sites: Sites) -> jax.Array:
        """Squared errors summed over channels and averaged over all pixels."""
        error = sad.render(sites, self.lists, implementation="xla") - self.image
        return jnp.sum(self.weight[..., None] * error**2) / self.weight.size

    @cached_property
    def parameters(self) -> np.ndarray:
        """(x, y, log_tau, radius, theta, a, colours) [6 + C, N]."""
        s = self.sites
        theta = np.arctan2(s.direction[:, 1], s.direction[:, 0])
        return np.stack([*s.position.T, s.log_tau, s.radius, theta, s.log_aniso, *s.color.T])

    def draw(self, parameters: jax.Array) -> jax.Array:
        x, y, log_tau, radius, theta, a, *color = parameters
        direction = jnp.stack([jnp.cos(theta), jnp.sin(theta)], -1)
        sites = Sites(jnp.stack([x, y], -1), log_tau, radius, jnp.stack(color, -1), direction, a)
        return sad.render(sites, self.lists, implementation="xla")

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture's derivatives, by forward differentiation, and the picture."""
        both = jax.jacfwd(lambda parameters: (self.draw(parameters),) * 2, has_aux=True)
        return jax.tree.map(np.asarray, jax.jit(both)(self.parameters))

    @property
    def jacobian(self) -> np.ndarray:
        """d picture / d parameters, [H W C, 6 + C, N]."""
        return self.drawn[0].reshape(-1, *self.parameters.shape)

    @cached_property
    def chain(self) -> np.ndarray:
        return np.asarray(jax.jit(chain_matrix, static_argnums=1)(self.sites, self.grid.size))

    @cached_property
    def phi_jacobian(self) -> np.ndarray:
        """The same with respect to (phi, colour): the chain undone."""
        matrix = np.moveaxis(self.chain, -1, 0)  # [N, g, p]
        geometry = np.moveaxis(self.jacobian[:, : formula.PHI], -1, 0)  # [N, M, g]
        in_phi = np.linalg.solve(matrix, geometry.swapaxes(1, 2))  # [N, p, M]
        color = self.jacobian[:, formula.PHI :]
        return np.concatenate([np.moveaxis(in_phi, (0, 1), (2, 1)), color], 1)

    @cached_property
    def error(self) -> np.ndarray:
        """picture - image, [H W C]."""
        return (self.drawn[1] - self.image).ravel()

    @property
    def values(self) -> np.ndarray:
        """The weight of every value, [H W C]."""
        return np.repeat(self.weight.ravel(), self.channels)

    def matrix(self, jacobian: np.ndarray) -> np.ndarray:
        """J'VJ, [6 + C, N, 6 + C, N]."""
        return np.einsum("mgn,m,mhk->gnhk", jacobian, self.values, jacobian, optimize=True)

    def right_side(self, jacobian: np.ndarray) -> np.ndarray:
        """J'Ve, [6 + C, N]."""
        return np.einsum("mgn,m->gn", jacobian, self.values * self.error)

    def blocks(self, jacobian: np.ndarray) -> np.ndarray:
        """The diagonal blocks of J'VJ, [6 + C, 6 + C, N]."""
        return np.einsum("mgn,m,mhn->ghn", jacobian, self.values, jacobian, optimize=True)


@pytest.fixture(scope="session")
def make_problem(make_sites, reference):
    """``make_problem(shape, channels, cell, weighted)``, made once each; float64 needs ``x64``."""
    made = {}

    def make(shape, channels, cell, weighted, dtype=np.float64) -> Problem:
        key = (shape, channels, cell, weighted, dtype)
        if key not in made:
            made[key] = Problem(make_sites, reference, *key)
        return made[key]

    return make


@pytest.fixture
def x64():
    """Turns on float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def assert_same():
    """Gradients compared element by element, by cosine and by relative norm."""

    def check(found, expected, tolerance: float) -> None:
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
        for a, b in pairs:
            a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
            norm, zero = np.linalg.norm(b), 1e-9  # what counts as nothing at all
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max() + zero)
            assert np.linalg.norm(a - b) <= tolerance * norm + zero
            if norm > zero:
                assert a @ b >= (1 - tolerance) * np.linalg.norm(a) * norm

    return check


@pytest.fixture(scope="module")
def compiled():
    """How often each function has been compiled, by name; it counts on."""
    count = Counter()

    def hear(event: str, duration_secs: float, **details) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            count[details.get("fun_name")] += 1

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield count
    jax.monitoring.unregister_event_duration_listener(hear)
