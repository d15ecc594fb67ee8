"""Optax's optimisers, one by one: what an edit does to their state, and steps around an edit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import sad_jax as sad
from sad_jax.optimize import density
from sad_jax.optimize.adam import paper_optimizer
from sad_jax.optimize.edits import edit, keep_slots
from sad_jax.optimize.gauss_newton import scale_by_plane
from sad_jax.optimize.rows import find_rows, renew_rows

SHAPE, N, CAPACITY = (6, 8), 8, 11
FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
LABELS = sad.Sites(*["moves"] * 3, "colour", *["stays"] * 2)
NUMBERS = (np.dtype(np.float32), np.dtype(np.int32))
COLOR = sad.Sites(*[name == "color" for name in FIELDS])
REST = sad.Sites(*[name != "color" for name in FIELDS])
PARTS = {"moves": sad.adam(3.0), "colour": optax.adam(0.1), "stays": optax.set_to_zero()}

OPTIMIZERS = {
    "adabelief": optax.adabelief(0.05),
    "adadelta": optax.adadelta(20.0),
    "adafactor": optax.adafactor(0.01, min_dim_size_to_factor=2),
    "adagrad": optax.adagrad(0.2),
    "adam": optax.adam(0.05),
    "adamax": optax.adamax(0.05),
    "adamw": optax.adamw(0.05),
    "adan": optax.adan(0.02),
    "amsgrad": optax.amsgrad(0.05),
    "fromage": optax.fromage(0.02),
    "lamb": optax.lamb(0.05),
    "lars": optax.lars(1.0),
    "lbfgs": optax.lbfgs(),
    "lion": optax.lion(0.02),
    "nadam": optax.nadam(0.05),
    "noisy_sgd": optax.noisy_sgd(0.5, eta=1e-6, key=jax.random.key(0)),
    "novograd": optax.novograd(0.05),
    "optimistic": optax.optimistic_gradient_descent(0.5),
    "polyak_sgd": optax.polyak_sgd(0.3),
    "radam": optax.radam(0.2),
    "rmsprop": optax.rmsprop(0.02, momentum=0.5),
    "rprop": optax.rprop(0.05),
    "sad.adam": sad.adam(5.0),
    "sad.gauss_newton": sad.gauss_newton(),
    "sgd": optax.sgd(0.5, momentum=0.9, nesterov=True),
    "sign_sgd": optax.sign_sgd(0.02),
    "sm3": optax.sm3(0.05),
    "yogi": optax.yogi(0.05),
    "accumulated": optax.MultiSteps(optax.adam(0.1), every_k_schedule=2),
    "apply_if_finite": optax.apply_if_finite(optax.adam(0.05), 3),
    "averaged": optax.chain(optax.adam(0.05), optax.ema(0.5)),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(8)),
    "chain": optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(0.1, 0, 99))
    ),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.05),
    "named_chain": optax.named_chain(("a", optax.adam(0.05)), ("b", optax.zero_nans())),
    "masked": optax.chain(
        optax.masked(optax.adam(0.1), COLOR), optax.masked(optax.set_to_zero(), REST)
    ),
    "multi_transform": optax.multi_transform(PARTS, LABELS),
    "partition": optax.partition(PARTS, LABELS),
    "paper": paper_optimizer(),
    "plane": scale_by_plane(),
    "acprop": optax.contrib.acprop(0.05),
    "ademamix": optax.contrib.ademamix(0.05),
    "adopt": optax.contrib.adopt(0.05),
    "cocob": optax.contrib.cocob(),
    "dadapt_adamw": optax.contrib.dadapt_adamw(1.0, estim_lr0=1e-2),
    "dowg": optax.contrib.dowg(),
    "madgrad": optax.contrib.madgrad(0.02),
    "mechanize": optax.contrib.mechanize(optax.adam(0.05), s_init=0.01),
    "momo": optax.contrib.momo(1.0),
    "momo_adam": optax.contrib.momo_adam(0.05),
    "muon": optax.contrib.muon(0.02),
    "prodigy": optax.contrib.prodigy(1.0, estim_lr0=1e-2),
    "reduce_on_plateau": optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau()),
    "sam": optax.contrib.sam(optax.adam(0.05), optax.sgd(0.01), sync_period=2),
    "sam_opaque": optax.contrib.sam(optax.adam(0.05), optax.sgd(0.01), opaque_mode=True),
    "schedule_free_adamw": optax.contrib.schedule_free_adamw(0.05),
    "schedule_free_sgd": optax.contrib.schedule_free_sgd(0.5),
    "sophia": optax.contrib.sophia(0.02),
}


def picture(sites, lists):
    """Numbers of the living sites, in place of a picture: it costs next to nothing to compile."""
    columns = sites.position / 8, sites.log_tau[:, None] / 8, sites.radius[:, None] / 4, sites.color
    return jnp.where(sites.alive[:, None], jnp.concatenate(columns, 1), 0.5)


def loss(image):
    return jnp.mean((image - 0.5) ** 2)


@pytest.fixture(scope="module")
def sites(make_sites):
    return jax.tree.map(jnp.asarray, make_sites(N, channels=1, shape=SHAPE))


@pytest.fixture(scope="module")
def lists(sites):
    return sad.find_candidates(sites, SHAPE)


@pytest.fixture
def exact(monkeypatch, lists):
    """No search: the lists do not matter here."""
    monkeypatch.setattr("sad_jax.optimize.loop.find_candidates", lambda sites, canvas, **_: lists)


def after_an_edit(state: sad.State) -> sad.State:
    """Two of the sites split, one removed, by made-up statistics."""
    n, rng = CAPACITY, np.random.default_rng(0)
    mass, energy, removal = rng.uniform(2, 9, (3, n)).astype(np.float32)
    mean, covariance = np.zeros((n, 2)), np.tile(np.diag([1.0, 2.0]), (n, 1, 1))
    stats = density.Statistics(mass, energy, removal, mean, covariance)
    return edit(state, stats, np.full((*SHAPE, 1), 0.8, np.float32), prunes=1, splits=2)


def numbers(tree) -> list[np.ndarray]:
    """All leaves but random keys."""
    is_key = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if not is_key(leaf)]


def used(optimizer_state):
    """As after some steps: every number is another one than at the start."""
    more = lambda leaf: leaf + leaf.dtype.type(1) if leaf.dtype in NUMBERS else leaf  # noqa: E731
    return jax.tree.map(more, optimizer_state)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_new_sites_have_the_rows_with_which_the_optimiser_starts(sites, name):
    """Against ``init`` of the sites after the edit; 11, the capacity, is no other axis's length."""
    optimizer = OPTIMIZERS[name]
    state = sad.make_state(sites, SHAPE, optimizer, capacity=CAPACITY)
    state = state.replace(optimizer=used(state.optimizer))
    edited = after_an_edit(state)
    changed = np.flatnonzero(np.any(edited.sites.position != state.sites.position, axis=1))
    assert len(changed) == 4
    others = np.setdiff1d(np.flatnonzero(edited.alive), changed)
    start = optimizer.init(edited.sites)
    trees = edited.optimizer, state.optimizer, start
    assert len({jax.tree.structure(tree) for tree in trees}) == 1
    if name == "lbfgs":  # its history starts anew, with all that belongs to it
        for found, expected in zip(*map(numbers, (edited.optimizer[0], start[0])), strict=True):
            np.testing.assert_array_equal(found, expected)
        trees = [tree[1:] for tree in trees]
    for found, before, expected in zip(*map(numbers, trees), strict=True):
        assert (found.dtype, found.shape) == (before.dtype, before.shape)
        if CAPACITY in found.shape:
            assert found.shape[0] == CAPACITY
            np.testing.assert_array_equal(found[changed], expected[changed])
            np.testing.assert_array_equal(found[others], before[others])
        else:
            np.testing.assert_array_equal(found, before)


@pytest.mark.usefixtures("exact")
def test_copies_of_removed_sites_go_with_them(sites):
    """Else the distance to the start, by which Prodigy finds its rate, would be that of parking."""
    optimizer = OPTIMIZERS["prodigy"]
    state = sad.make_state(sites, SHAPE, optimizer, capacity=CAPACITY)
    assert not state.optimizer.params0.radius[N:].any()  # of free slots
    new, gone = np.asarray([], int), np.asarray([2])
    radius = state.sites.radius.at[gone].set(state.sites.radius[-1])
    sites = state.sites.replace(radius=radius, color=state.sites.color + 7)
    found = renew_rows(state.rows, used(state.optimizer), sites, new, gone)
    assert found.params0.radius[2] == 0
    assert found.params0.color[2] == sites.color[2]
    np.testing.assert_array_equal(found.exp_avg.color, 1)


def test_rows_are_found_by_structure_and_not_by_length(sites):
    """A table as long as there are sites is left alone; so is a history of as many steps."""
    table = optax.GradientTransformation(lambda params: jnp.arange(N), None)
    state = jnp.arange(N)
    rows = find_rows(table, sites)
    assert [row.axis for row in rows] == [None]
    assert renew_rows(rows, state, sites, np.asarray([1]), np.asarray([2])) is state
    memory = optax.scale_by_lbfgs(memory_size=N)
    axes = [row.axis for row in find_rows(memory, sites)]
    assert axes == [None, *[0] * 12, *[1] * 12, None]


@pytest.mark.usefixtures("exact")
def test_fewer_slots_keep_the_rows_along_any_axis(sites):
    state = sad.make_state(sites, SHAPE, optax.scale_by_lbfgs(memory_size=CAPACITY), capacity=11)
    count = state.optimizer.diff_params_memory.position + jnp.arange(11.0)[:, None]
    memory = state.optimizer.diff_params_memory.replace(position=count)
    few = keep_slots(
        state.replace(optimizer=state.optimizer._replace(diff_params_memory=memory)), 9
    )
    assert few.optimizer.weights_memory.shape == (11,)
    assert few.optimizer.params.position.shape == (9, 2)
    np.testing.assert_array_equal(few.optimizer.diff_params_memory.position, count[:, :9])


@pytest.mark.usefixtures("exact")
def test_optimisers_that_cannot_follow_are_refused_in_a_line(sites):
    flat = optax.flatten(optax.adam(0.1))
    state = sad.make_state(sites, SHAPE, flat, capacity=CAPACITY)
    with pytest.raises(
        ValueError, match=r"has a row for each site, .* got a leaf of shape \(88,\)"
    ):
        after_an_edit(state)
    other = state.replace(optimizer=optax.lion(0.1).init(state.sites))
    with pytest.raises(ValueError, match="expected the optimiser state of make_state"):
        after_an_edit(other)
    with pytest.raises(ValueError, match="expected a state of make_state"):
        after_an_edit(state.replace(rows=None))
    broken = optax.GradientTransformation(lambda params: params.fast, None)
    with pytest.raises(
        ValueError, match=r"expected an optimizer that starts from Sites, got .*'fast'"
    ):
        sad.make_state(sites, SHAPE, broken)


@pytest.mark.usefixtures("exact")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("optimizer", "got"),
    [
        (optax.lookahead(optax.adam(0.1), 5, 0.5), "AttributeError: .*'fast'"),
        (optax.masked(optax.lbfgs(), COLOR), ""),
        (optax.GradientTransformationExtraArgs(lambda p: (), lambda u, s, p, *, hint: u), "'hint'"),
    ],
)
def test_optimisers_that_want_more_are_refused_in_a_line(sites, optimizer, got):
    state = sad.make_state(sites, SHAPE, optimizer)
    step = sad.make_step(loss, optimizer, draw=picture)
    with pytest.raises(
        ValueError, match=f"expected an optimizer that moves Sites and .*{got}"
    ) as e:
        step(state)
    assert "\n" not in str(e.value)


@pytest.mark.usefixtures("exact")
def test_gauss_newton_wants_whole_sites(sites):
    optimizer = optax.masked(sad.gauss_newton(), COLOR)
    step = sad.make_step(loss, optimizer, draw=picture)
    with pytest.raises(NotImplementedError, match="expected Sites with all their fields"):
        step(sad.make_state(sites, SHAPE, optimizer))


def test_adam_moves_sites_within_a_tree_and_nothing_else(sites):
    """Beside other unknowns it is one part of ``optax.partition``; fields may be masked."""
    tree, labels = {"s": sites, "k": jnp.ones((3, 3))}, {"s": "s", "k": "k"}
    both = optax.partition({"s": sad.adam(), "k": optax.adam(0.1)}, labels)
    updates, _ = both.update(tree, both.init(tree), tree)
    alone, _ = sad.adam().update(sites, sad.adam().init(sites))
    for found, expected in zip(jax.tree.leaves(updates["s"]), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(updates["k"], -0.1, rtol=1e-5)
    masked = optax.masked(sad.adam(), COLOR)
    updates, _ = masked.update(sites, masked.init(sites), sites)
    np.testing.assert_allclose(updates.color, alone.color, rtol=1e-6)
    np.testing.assert_array_equal(updates.position, sites.position)
    with pytest.raises(TypeError, match=r"expected Sites alone .*, got an array of shape \(3, 3\)"):
        sad.adam().init(tree)


RUNS = [
    "adafactor",
    "adagrad",
    "adamw",
    "lamb",
    "lars",
    "lbfgs",
    "lion",
    "noisy_sgd",
    "novograd",
    "polyak_sgd",
    "rmsprop",
    "rprop",
    "sgd",
    "sm3",
    "accumulated",
    "apply_if_finite",
    "backtracking",
    "chain",
    "injected",
    "masked",
    "partition",
    "cocob",
    "dadapt_adamw",
    "dowg",
    "mechanize",
    "momo",
    "muon",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "sam_opaque",
    "schedule_free_adamw",
    "sophia",
]


@pytest.mark.slow
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", RUNS)
def test_the_loss_falls_before_and_after_an_edit(sites, name):
    optimizer, values = OPTIMIZERS[name], []
    state = sad.make_state(sites, SHAPE, optimizer, capacity=CAPACITY)
    step = sad.make_step(loss, optimizer, draw=picture)
    for edited in (False, True):
        state = after_an_edit(state) if edited else state
        for _ in range(12):
            state, value = step(state)
            values.append(float(value))
    assert state.num_sites == N + 1
    assert max(values) < 1.2 * values[0]  # finite, too
    assert min(values[:12]) < 0.98 * values[0]
    assert min(values[12:]) < 0.98 * values[12]
