"""The user's own loss: steps against plain gradients, edits against the squared error's."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import sad_jax as sad
from sad_jax.model.sites import PARKED_RADIUS
from sad_jax.optimize import density
from sad_jax.optimize.least_squares import make_target
from sad_jax.optimize.loop import wanted_picture

SHAPE = (9, 14)


@pytest.fixture
def target() -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 1, (*SHAPE, 3)).astype(np.float32)


def squared(image: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.mean((image - target) ** 2)


def make_state(make_sites, optimizer, n=12, capacity=20) -> sad.State:
    return sad.make_state(make_sites(n, shape=SHAPE), SHAPE, optimizer, capacity=capacity)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_wanted_picture_of_a_squared_error_is_its_target(target, scale):
    start = np.full_like(target, 0.5)
    found = wanted_picture(lambda image, goal: scale * squared(image, goal), start, target)
    np.testing.assert_allclose(found, target, atol=1e-3)


def test_the_wanted_picture_changes_only_what_the_loss_sees(target):
    seen = (np.arange(SHAPE[1]) % 3 > 0).astype(np.float32)[:, None]
    start = np.full_like(target, 0.5)
    found = wanted_picture(lambda image: jnp.sum((seen * (image - target)) ** 2), start)
    np.testing.assert_allclose(found, np.where(seen > 0, target, start), atol=1e-3)


def test_the_wanted_picture_moves_no_value_by_more_than_one(target):
    found = wanted_picture(lambda image: 1e3 * jnp.sum(image[0]), target)  # no curvature at all
    expected = target.copy()
    expected[0] -= 1
    np.testing.assert_allclose(found, expected, atol=1e-6)
    flat = wanted_picture(lambda image: 0.0 * jnp.sum(image), target)
    np.testing.assert_array_equal(flat, target)


def test_a_step_is_the_optimisers_update_of_the_gradient(make_sites, target, assert_same):
    optimizer = optax.sgd(0.3)
    state = make_state(make_sites, optimizer, capacity=12)
    value, gradient = jax.value_and_grad(
        lambda sites: squared(sad.render(sites, state.lists, implementation="xla"), target)
    )(state.sites)
    moved, found = sad.make_step(squared, optimizer)(state, target)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    expected = jax.tree.map(lambda leaf, slope: leaf - 0.3 * slope, state.sites, gradient)
    for name in ("log_tau", "radius", "color", "log_aniso"):
        assert_same(getattr(moved.sites, name), getattr(expected, name), 1e-5)
    np.testing.assert_allclose(np.linalg.norm(moved.sites.direction, axis=1), 1, rtol=1e-5)
    assert int(moved.step) == 1


def test_colours_stay_in_their_range_where_one_is_given(make_sites, target):
    state = make_state(make_sites, optax.sgd(1.0), capacity=12)
    loss = lambda image: -jnp.sum(image)  # noqa: E731
    free, _ = sad.make_step(loss, optax.sgd(1.0))(state)
    held, _ = sad.make_step(loss, optax.sgd(1.0), color_range=(0.1, 0.7))(state)
    assert free.sites.color.max() > 1
    assert held.sites.color.max() == np.float32(0.7)
    np.testing.assert_allclose(held.sites.color, np.clip(free.sites.color, 0.1, 0.7))


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer", [optax.adamw(0.01, weight_decay=0.1), sad.adam(5.0), sad.gauss_newton()]
)
def test_free_slots_stay_free_and_change_no_picture(make_sites, target, optimizer):
    state = make_state(make_sites, optimizer)
    picture = sad.render(make_sites(12, shape=SHAPE), SHAPE)
    np.testing.assert_allclose(sad.render(state.sites, state.lists), picture, atol=1e-6)
    step = sad.make_step(squared, optimizer)
    for _ in range(3):
        state, _ = step(state, target)
    assert state.num_sites == 12
    np.testing.assert_array_equal(state.sites.radius[12:], np.float32(PARKED_RADIUS))
    compact = state.compact()
    assert compact.num_sites == 12
    image = sad.render(sad.refresh(state).sites, state.lists.canvas)
    np.testing.assert_allclose(sad.render(compact, SHAPE), image, atol=1e-6)


def test_lists_are_exact_after_refresh_and_after_edits(make_sites, reference, target):
    optimizer = sad.adam(20.0)
    state = make_state(make_sites, optimizer)
    step = sad.make_step(squared, optimizer)
    for _ in range(4):
        state, _ = step(state, target)
    grown = sad.densify(state, squared, 5, target)
    pruned = sad.prune(grown, squared, 3, target)
    for edited in (sad.refresh(state), grown, pruned):
        reference.check_exact(edited.sites, edited.lists)
    assert (grown.num_sites, pruned.num_sites) == (17, 14)


def test_edits_of_a_squared_error_are_those_of_its_target(make_sites, target):
    """``density.py`` with the target itself chooses the same sites and the same children."""
    state = make_state(make_sites, sad.adam())
    goal = make_target(state.lists.grid, jnp.asarray(target))
    stats = density.statistics(state.sites, state.lists, goal)
    alive = np.asarray(state.alive)
    pruned = sad.prune(state, squared, 4, target)
    gone = np.flatnonzero(alive & ~np.asarray(pruned.alive))
    assert set(gone) == set(density.cheapest(stats, alive, 4))
    parents = density.worst(stats, alive, 3)
    expected, _ = density.split(state.sites, stats, target, parents, np.asarray([12, 13, 14]))
    grown = sad.densify(state, squared, 3, target)
    np.testing.assert_allclose(grown.sites.position, expected.position, atol=1e-2)
    np.testing.assert_allclose(grown.sites.color, expected.color, atol=1e-2)


def test_new_sites_begin_with_an_optimiser_state_of_zero(make_sites, target):
    optimizer = sad.adam()
    state, _ = sad.make_step(squared, optimizer)(make_state(make_sites, optimizer), target)
    grown = sad.densify(state, squared, 2, target)
    before, after = (np.asarray(s.optimizer[0].first.color) for s in (state, grown))
    changed = np.flatnonzero(np.any(before != after, axis=1))
    assert len(changed) == 2  # the parents; the new slots were zero
    np.testing.assert_array_equal(after[changed], 0)
    np.testing.assert_array_equal(after[12:], 0)


@pytest.mark.slow
def test_there_are_never_more_sites_than_capacity_nor_none(make_sites, target):
    state = make_state(make_sites, sad.adam(), capacity=14)
    assert sad.densify(state, squared, 9, target).num_sites == 14
    assert sad.prune(state, squared, 99, target).num_sites == 1


def test_steps_run_under_vmap_and_scan(make_sites, target, assert_same):
    optimizer = sad.adam(2.0)
    step = sad.make_step(squared, optimizer)
    states = [
        sad.make_state(make_sites(12, shape=SHAPE, seed=seed), SHAPE, optimizer) for seed in (0, 1)
    ]
    targets = jnp.stack([target, 1 - target])

    def three(state, target):
        return jax.lax.scan(lambda state, _: step(state, target), state, None, length=3)

    together, values = jax.vmap(three)(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), targets
    )
    for i, state in enumerate(states):
        found = []
        for _ in range(3):
            state, value = step(state, targets[i])
            found.append(value)
        np.testing.assert_allclose(values[i], found, rtol=1e-4)
        for stacked, leaf in zip(
            jax.tree.leaves(together.sites), jax.tree.leaves(state.sites), strict=True
        ):
            assert_same(stacked[i], leaf, 1e-4)


def test_an_optimiser_that_asks_for_the_loss_gets_it(make_sites, target):
    optimizer = optax.polyak_sgd(0.3)
    state = make_state(make_sites, optimizer, capacity=12)
    step, values = sad.make_step(squared, optimizer), []
    for _ in range(8):
        state, value = step(state, target)
        values.append(float(value))
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
        optax.chain(optax.clip_by_global_norm(1.0), sad.adam(5.0)),
        optax.contrib.schedule_free_adamw(0.01),
    ],
    ids=["lbfgs", "backtracking", "chain", "schedule_free"],
)
def test_line_searches_and_chains_lower_the_loss(make_sites, target, optimizer):
    """With what ``make_step`` tells an optimiser beside the gradient."""
    state = make_state(make_sites, optimizer, capacity=12)
    step = sad.make_step(squared, optimizer)
    state, first = step(state, target)
    for _ in range(4):
        state, value = step(state, target)
    assert value < first


@dataclasses.dataclass
class Distance:
    """A loss that is an object with an array: it has no hash."""

    goal: np.ndarray

    def __call__(self, image):
        return jnp.mean((image - self.goal) ** 2)


@pytest.mark.slow
def test_losses_that_are_objects_with_arrays(make_sites, target):
    with pytest.raises(TypeError, match="unhashable"):
        hash(Distance(target))
    sites = make_sites(6, shape=SHAPE)
    options = {"steps": 13, "num_sites": 8, "optimizer": optax.sgd(0.1)}
    found = sad.minimize(Distance(target), sites, SHAPE, **options)
    expected = sad.minimize(squared, sites, SHAPE, target, **options)
    for a, b in zip(jax.tree.leaves(found.sites), jax.tree.leaves(expected.sites), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_minimize_deblurs_better_than_the_blurred_picture(make_sites):
    """The README's loop in one call: sites grow, the loss falls, the truth comes nearer."""
    y, x = np.mgrid[:24, :32]
    truth = np.where((x + 2 * y > 40)[..., None], [0.9, 0.2, 0.1], [0.1, 0.3, 0.8])
    truth = jnp.asarray(truth, jnp.float32)

    def blur(image):
        for axis in (0, 1):
            image = (jnp.roll(image, 2, axis) + 2 * image + jnp.roll(image, -2, axis)) / 4
        return image

    data, values = blur(truth), []
    start = sad.init_sites(data, 20, key=jax.random.key(0))
    state = sad.minimize(
        lambda image, data: jnp.mean((blur(image) - data) ** 2),
        start,
        (24, 32),
        data,
        steps=100,
        num_sites=40,
        color_range=(0.0, 1.0),
        progress=lambda now: values.append(now.value),
    )
    assert len(values) == int(state.step) == 100
    assert state.num_sites == 40
    assert values[-1] < 0.05 * values[0]
    error = lambda image: float(jnp.mean((image - truth) ** 2))  # noqa: E731
    assert error(sad.render(state.sites, state.lists)) < 0.3 * error(data)


@pytest.mark.slow
def test_the_same_loss_with_other_data_is_traced_once(make_sites, target):
    traced = []

    def loss(image, goal):
        traced.append(goal)
        return squared(image, goal)

    sites, optimizer, pictures = make_sites(6, shape=SHAPE), sad.adam(5.0), []
    for goal in (target, 1 - target):
        count = len(traced)
        state = sad.minimize(loss, sites, SHAPE, goal, steps=20, optimizer=optimizer)
        pictures.append(np.asarray(sad.render(state.sites, state.lists)))
    assert len(traced) == count > 0
    assert squared(pictures[1], 1 - target) < squared(pictures[0], 1 - target)


def test_budgets_that_do_not_fit_are_refused(make_sites):
    sites = make_sites(12, shape=SHAPE)
    with pytest.raises(ValueError, match="expected a capacity of at least the 12 sites given"):
        sad.make_state(sites, SHAPE, sad.adam(), capacity=11)
    with pytest.raises(ValueError, match=r"expected num_sites of at least the 12 .*, got 3"):
        sad.minimize(jnp.sum, sites, SHAPE, num_sites=3)


PARAMS = {"gain": 0.8, "bias": np.full((1, 1, 3), 0.1, np.float32)}


def seen_through(image: jax.Array, params, target: jax.Array) -> jax.Array:
    """A loss with unknowns beside the sites: what a camera does to the picture."""
    return jnp.mean((params["gain"] * image + params["bias"] - target) ** 2)


def known(image: jax.Array, target: jax.Array) -> jax.Array:
    """The same, of params that are no unknowns."""
    return seen_through(image, PARAMS, target)


def with_params(make_sites, optimizer, **options) -> sad.State:
    options = {"params": PARAMS, "params_optimizer": optax.sgd(0.5), **options}
    return sad.make_state(make_sites(12, shape=SHAPE), SHAPE, optimizer, capacity=20, **options)


def test_a_step_moves_sites_and_params_by_their_own_gradients(make_sites, target):
    optimizer, other = optax.sgd(0.3), optax.sgd(0.5, momentum=0.9)
    state = with_params(make_sites, optimizer, params_optimizer=other)
    step = sad.make_step(seen_through, optimizer, params_optimizer=other)
    moved, value = step(state, target)
    image = np.asarray(sad.render(state.sites, state.lists), np.float64)
    error = 0.8 * image + 0.1 - target
    np.testing.assert_allclose(value, np.mean(error**2), rtol=1e-5)
    slope = {"gain": 2 * np.mean(error * image), "bias": 2 * error.sum((0, 1)) / error.size}
    for name, leaf in moved.params.items():
        expected = np.asarray(PARAMS[name]) - 0.5 * slope[name]
        np.testing.assert_allclose(leaf, expected, rtol=1e-5)
        np.testing.assert_allclose(
            moved.params_optimizer[0].trace[name], slope[name].reshape(leaf.shape), rtol=1e-4
        )
    alone, _ = sad.make_step(known, optimizer)(make_state(make_sites, optimizer), target)
    for found, expected in zip(*map(jax.tree.leaves, (moved.sites, alone.sites)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    kind = lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type)  # noqa: E731
    after = jax.eval_shape(step, state, target)[0]  # it can be scanned
    assert jax.tree.map(kind, after) == jax.tree.map(kind, jax.eval_shape(lambda: state))


def test_edits_take_the_params(make_sites, target):
    """As of a loss that knows them."""
    state = with_params(make_sites, sad.adam())
    alone = make_state(make_sites, sad.adam())
    for edit in (sad.densify, sad.prune):
        found, expected = edit(state, seen_through, 3, target), edit(alone, known, 3, target)
        assert found.params is state.params
        for a, b in zip(*map(jax.tree.leaves, (found.sites, expected.sites)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_params_that_do_not_fit_are_refused(make_sites, target):
    make = functools.partial(with_params, make_sites, sad.adam())
    with pytest.raises(ValueError, match="expected params_optimizer beside params, got none"):
        make(params_optimizer=None)
    with pytest.raises(ValueError, match="expected params beside params_optimizer, got none"):
        make(params=None)
    with pytest.raises(ValueError, match="expected params of floating-point numbers, got int32"):
        make(params={"shift": np.int32(3)})
    with pytest.raises(ValueError, match="expected params_optimizer beside params, got none"):
        sad.make_step(seen_through, sad.adam())(make(), target)
    step = sad.make_step(squared, sad.adam(), params_optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match="expected params beside params_optimizer, got none"):
        step(make_state(make_sites, sad.adam()), target)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [sad.adam(4.0), sad.gauss_newton()], ids=["adam", "newton"])
def test_minimize_finds_params_beside_the_sites(make_sites, target, optimizer):
    """A second view of the picture, dimmed by an unknown gain; the number of sites grows."""

    def loss(image, params, first, second):
        return squared(image, first) + squared(params["gain"] * image, second)

    smooth = jnp.asarray(
        np.linspace(0, 1, SHAPE[1], dtype=np.float32)[:, None] * np.ones((9, 1, 3))
    )
    state = sad.minimize(
        loss,
        make_sites(10, shape=SHAPE),
        SHAPE,
        smooth,
        0.4 * smooth,
        steps=120,
        num_sites=20,
        optimizer=optimizer,
        params={"gain": 1.0},
        params_optimizer=optax.adam(0.05),
    )
    assert state.num_sites == 20
    assert state.value < 5e-3
    np.testing.assert_allclose(state.params["gain"], 0.4, atol=0.03)


DRAWINGS = {
    "inverted": lambda sites, lists: 1 - sad.render(sites, lists),
    "frames": lambda sites, lists: jnp.stack([sad.render(sites, lists)] * 2),
    "moved": lambda s, lists: sad.render(s.replace(position=s.position + 0.5), lists),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_edits_refuse_a_drawing_that_shows_something_else(make_sites, target, name):
    """Also where it looks the same: all sites are gray."""
    state = make_state(make_sites, sad.adam())
    gray = state.replace(sites=state.sites.replace(color=jnp.full((20, 3), 0.5)))
    said = r"expected a draw that shows the picture of sad.render for {}, got another one; let the"
    for edit in (sad.densify, sad.prune):
        with pytest.raises(ValueError, match=said.format(edit.__name__)):
            edit(gray, squared, 2, target, draw=DRAWINGS[name])


def test_edits_take_another_drawing_of_the_same_picture(make_sites, target):
    state = make_state(make_sites, sad.adam())
    expected = sad.prune(state, squared, 3, target)
    by_name = lambda sites, lists: sad.render(sites, lists, implementation="xla")  # noqa: E731
    for draw in (by_name, functools.partial(sad.render, implementation="xla_vjp")):
        found = sad.prune(state, squared, 3, target, draw=draw)
        np.testing.assert_array_equal(found.sites.radius, expected.sites.radius)


@pytest.mark.slow
def test_minimize_through_a_drawing_reaches_what_it_should(make_sites, target):
    """The negative of the sites' picture: the objective is that of the negative target."""
    sites, options = make_sites(20, shape=SHAPE), {"steps": 30, "optimizer": sad.adam(4.0)}
    with pytest.raises(ValueError, match=r"expected a draw .* for a growing number of sites"):
        sad.minimize(squared, sites, SHAPE, target, num_sites=21, draw=DRAWINGS["inverted"])
    state = sad.minimize(squared, sites, SHAPE, target, draw=DRAWINGS["inverted"], **options)
    other = sad.minimize(lambda image: squared(1 - image, target), sites, SHAPE, **options)
    assert state.value < 0.6 * squared(1 - sad.render(sites, SHAPE), target)
    assert state.value < 1.2 * other.value


@pytest.mark.slow
def test_numbers_that_are_not_finite_end_the_loop(make_sites):
    """With the step's number, and with the state of least loss."""
    sites, values = make_sites(12, shape=SHAPE), []
    options = {"steps": 30, "optimizer": optax.sgd(20.0), "refresh_every": 99}

    def loss(image):
        return jnp.mean(image - 0.3 * jnp.log(image))

    said = (
        r"expected finite numbers, got a loss of \w+ in step (\d+) of 30; returned is the state of"
    )
    with pytest.warns(RuntimeWarning, match=said):
        state = sad.minimize(
            loss, sites, SHAPE, progress=lambda now: values.append(now.value), **options
        )
    assert np.isfinite(values).all()
    assert int(state.step) == np.argmin(values) < 29
    assert state.num_sites == 12
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.sites))
    with pytest.raises(
        ValueError, match="expected a finite loss of the sites given, got nan; mend"
    ):
        sad.minimize(lambda image: jnp.log(-1 - jnp.sum(image**2)), sites, SHAPE, **options)


def test_loops_within_transformations_are_refused_in_a_line(make_sites, target):
    sites = jax.tree.map(jnp.asarray, make_sites(12, shape=SHAPE))
    state = make_state(make_sites, sad.adam())
    many = jax.tree.map(lambda leaf: leaf[None], (sites, state))
    loops = {
        "minimize": lambda sites, _: sad.minimize(squared, sites, SHAPE, target),
        "densify": lambda _, state: sad.densify(state, squared, 1, target),
        "prune": lambda _, state: sad.prune(state, squared, 1, target),
    }
    for name, loop in loops.items():
        said = f"expected arrays, got tracers: {name} works on the host; call it outside jit, vmap"
        for call, given in ((jax.jit(loop), (sites, state)), (jax.vmap(loop), many)):
            with pytest.raises(TypeError, match=said):
                call(*given)
    with pytest.raises(TypeError, match="expected arrays, got tracers: minimize"):
        jax.jit(lambda: sad.minimize(jnp.mean, sites, SHAPE))()


def test_negative_counts_are_refused(make_sites, target):
    state = make_state(make_sites, sad.adam())
    for edit in (sad.densify, sad.prune):
        with pytest.raises(ValueError, match="expected a count of at least 0 sites, got -3"):
            edit(state, squared, -3, target)
