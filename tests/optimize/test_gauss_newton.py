"""Gauss-Newton steps, of a fit and of any loss, against dense linear algebra on tiny pictures."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sad_jax as sad
from sad_jax.backend import XLA
from sad_jax.model import tangent
from sad_jax.model.sites import PARKED_RADIUS, clamp
from sad_jax.optimize import gauss_newton as gn
from sad_jax.optimize import linear
from sad_jax.optimize.least_squares import Curvature, Errors, make_target
from sad_jax.optimize.state import Best
from sad_jax.optimize.steps import run_gauss_newton

LOSS_SHAPE, DAMPING = (6, 8), 0.5  # of the tests with a loss of the user's own
CASES = [((5, 7), 1, 2, False), ((6, 5), 4, 1, True)]  # shape, channels, cell, weighted

PLANE = gn.scale_by_plane()
run = partial(run_gauss_newton, optimizer=PLANE)
close = partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-8)


def make_state(sites, lists) -> sad.State:
    """Before the first step."""
    nan = jnp.asarray(jnp.nan, np.asarray(sites.radius).dtype)
    return sad.State(sites, lists, PLANE.init(sites), jnp.int32(0), nan)


def as_dense(blocks: Curvature) -> np.ndarray:
    """[N, 6 + C, 6 + C]."""
    n, channels = len(blocks.color), blocks.mixed.shape[1]
    mixed = np.moveaxis(np.asarray(blocks.mixed), -1, 0)
    color = np.eye(channels) * np.asarray(blocks.color)[:, None, None]
    geometry = np.moveaxis(np.asarray(blocks.geometry), -1, 0)
    assert geometry.shape == (n, 6, 6)
    return np.block([[geometry, mixed], [mixed.swapaxes(1, 2), color]])


def random_blocks(n: int, channels: int) -> Curvature:
    """Positive definite, as sums of J'J of a few pixels each."""
    rng = np.random.default_rng(0)
    geometry, weight = rng.normal(size=(n, 5, channels, 6)), rng.uniform(0.1, 1, (n, 5))
    return Curvature(
        geometry=np.einsum("mpcg,mpch->ghm", geometry, geometry),
        mixed=np.einsum("mpcg,mp->gcm", geometry, weight),
        color=np.sum(weight * weight, 1),
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("shape", "channels", "cell", "weighted"), CASES)
def test_maps_to_tangents_give_the_dense_jacobian(make_problem, shape, channels, cell, weighted):
    problem = make_problem(shape, channels, cell, weighted)
    sites, size = problem.sites, problem.grid.size
    in_phi, in_tangent = problem.phi_jacobian, problem.jacobian
    blocks = problem.blocks(in_phi)
    found = jax.jit(gn.curvature_in_tangents, static_argnums=1)(
        sites, size, Curvature(blocks[:6, :6], blocks[:6, 6:], blocks[6, 6])
    )
    dense = problem.blocks(in_tangent)
    close(as_dense(found), np.moveaxis(dense, -1, 0), atol=1e-7)
    close(found.diagonal, np.einsum("ggn->gn", dense), atol=1e-7)

    to_tangent = jax.jit(tangent.to_tangent, static_argnums=1)
    close(to_tangent(sites, size, problem.right_side(in_phi)), problem.right_side(in_tangent))

    vector, sums = np.random.default_rng(0).normal(size=(2, *problem.parameters.shape))
    step = np.asarray(jax.jit(tangent.from_tangent, static_argnums=1)(sites, size, vector))
    change = lambda jacobian, v: np.einsum("mgn,gn->m", jacobian, v)  # noqa: E731
    close(change(in_phi, step), change(in_tangent, vector))
    close(np.vdot(step, sums), np.vdot(vector, to_tangent(sites, size, sums)))


@pytest.mark.usefixtures("x64")
def test_small_systems_are_solved_as_by_numpy():
    blocks = random_blocks(7, 3)
    added, right = np.random.default_rng(1).uniform(0.01, 1, (2, 9, 7))
    dense = as_dense(blocks)
    matrix = dense + added.T[:, :, None] * np.eye(9)
    expected = np.linalg.solve(matrix, right.T[..., None])[..., 0].T
    close(jax.jit(gn.solve_blocks)(blocks, added, right), expected)
    geometry = np.linalg.solve(matrix[:, :6, :6], right[:6].T[..., None])[..., 0].T
    found = jax.jit(linear.cholesky_solve)(blocks.geometry, added[:6], right[:6])
    close(found, geometry)


@pytest.mark.usefixtures("cpu_engine")
@pytest.mark.parametrize(("n", "channels"), [(1, 1), (7, 3), (16, 4), (19, 5)])
def test_the_cpu_engine_maps_and_solves_blocks(make_sites, cpu_engine, n, channels):
    """For any number of sites and channels, and for a batch."""
    rng, engine = np.random.default_rng(2), cpu_engine
    single = lambda tree: jax.tree.map(partial(np.asarray, dtype=np.float32), tree)  # noqa: E731
    blocks = single(random_blocks(n, channels))
    added, right = single(rng.uniform(0.1, 1, (2, 6 + channels, n)))
    matrix = as_dense(blocks) + added.T[:, :, None] * np.eye(6 + channels)
    expected = np.linalg.solve(matrix.astype(float), right.T[..., None])[..., 0].T
    solve = partial(gn.solve_blocks, backend=engine)
    np.testing.assert_allclose(solve(blocks, added, right), expected, rtol=1e-3, atol=1e-4)
    both = jax.vmap(solve, (None, None, 0))(blocks, added, np.stack([right, -2 * right]))
    np.testing.assert_allclose(both[1], -2 * expected, rtol=1e-3, atol=2e-4)

    sites = make_sites(n, channels)
    chain = np.moveaxis(np.asarray(tangent.chain_matrix(sites, 9), float), -1, 0)
    found = gn.curvature_in_tangents(sites, 9, blocks, engine)
    geometry = chain @ np.moveaxis(blocks.geometry, -1, 0) @ chain.swapaxes(1, 2)
    scale = np.abs(geometry).max()
    np.testing.assert_allclose(np.moveaxis(found.geometry, -1, 0), geometry, atol=1e-5 * scale)
    mixed = chain @ np.moveaxis(blocks.mixed, -1, 0)
    np.testing.assert_allclose(
        np.moveaxis(found.mixed, -1, 0), mixed, atol=1e-5 * np.abs(mixed).max()
    )


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("engine", [False, True])
def test_systems_that_rounding_has_made_indefinite_have_finite_solutions(scale, engine, request):
    """Blocks of rank one less a little, with next to nothing on the diagonal, or nothing at all."""
    backend = request.getfixturevalue("cpu_engine") if engine else XLA
    geometry = np.full((6, 6, 3), scale, np.float32)
    geometry[3, 3] *= 1 - 1e-5
    blocks = Curvature(geometry, np.zeros((6, 2, 3), np.float32), np.zeros(3, np.float32))
    blocks = jax.tree.map(lambda leaf: leaf * np.asarray([1, 1, 0], np.float32), blocks)
    added = np.asarray(1e-6 * blocks.diagonal + gn.FLOOR)
    solve = jax.jit(partial(gn.solve_blocks, backend=backend))
    found = solve(blocks, added, np.ones((8, 3), np.float32))
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("damping", [0.03, 30.0])
def test_a_step_is_the_best_one_in_the_plane_within_the_caps(make_problem, damping):
    """Of -B^-1 J'Ve, capped, and the last step, by dense matrices; then sites are clamped."""
    problem = make_problem(*CASES[1])
    sites, _, target = problem.arguments
    rows, n = problem.parameters.shape
    matrix = problem.matrix(problem.jacobian)
    right = problem.right_side(problem.jacobian)
    diagonal = damping * np.einsum("gngn->gn", matrix) + gn.FLOOR
    matrix = matrix.reshape(rows * n, rows * n) + np.diag(diagonal.ravel())
    blocks = np.moveaxis(problem.blocks(problem.jacobian), -1, 0)
    blocks = blocks + diagonal.T[..., None] * np.eye(rows)
    cap = np.asarray([1.0, 1.0, 0.5, 0.5, 0.3, 0.3, *[0.15] * problem.channels])[:, None]
    fresh = -np.linalg.solve(blocks, right.T[..., None])[..., 0].T
    assert 0 < np.mean(np.abs(fresh) > cap) < 0.5  # some entries meet their caps
    fresh = np.clip(fresh, -cap, cap)
    last = 0.01 * np.random.default_rng(1).normal(size=fresh.shape)
    plane = np.stack([fresh.ravel(), last.ravel()])
    length = np.linalg.solve(plane @ matrix @ plane.T, -plane @ right.ravel())
    step = np.clip(length[0] * fresh + length[1] * last, -cap, cap)

    state = make_state(sites, problem.lists)
    state = state.replace(optimizer=state.optimizer._replace(step=jnp.asarray(last.T)))
    sharpest = 8.0
    moved = run(state, target, 1, jnp.asarray(damping), jnp.asarray(sharpest))
    assert int(moved.step) == 1
    close(moved.value, np.average(problem.error**2, weights=problem.values))
    np.testing.assert_allclose(moved.optimizer.step, step.T, rtol=1e-5, atol=1e-8)
    direction = problem.sites.direction
    turned = direction + step[4][:, None] * np.stack([-direction[:, 1], direction[:, 0]], -1)
    expected = sites.replace(
        position=sites.position + step[:2].T,
        log_tau=np.minimum(sites.log_tau + step[2], np.log(sharpest * problem.grid.size)),
        radius=sites.radius + step[3],
        direction=turned,
        log_aniso=sites.log_aniso + step[5],
        color=sites.color + step[6:].T,
    )
    expected = jax.jit(clamp, static_argnums=1)(expected, problem.shape)
    for a, b in zip(jax.tree.leaves(moved.sites), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_steps_on_a_quadratic_are_conjugate_gradients():
    """Colours alone, drawn by a matrix: n steps, each with one push, are n steps of CG."""
    rng = np.random.default_rng(0)
    drawing, right = rng.normal(size=(20, 8)), 1e-2 * rng.normal(size=8)
    matrix, diagonal = drawing.T @ drawing + gn.FLOOR * np.eye(8), np.sum(drawing**2, 0)
    blocks = Curvature(jnp.zeros((6, 6, 8)), jnp.zeros((6, 1, 8)), jnp.asarray(diagonal))
    x, last = np.zeros(8), last_step(np.zeros((8, 7)))

    @jax.jit
    def update(x, last):
        gradient = jnp.zeros((7, 8)).at[6].set(matrix @ x - right)
        push = lambda *tangents: [drawing @ tangent[6] for tangent in tangents]  # noqa: E731
        return PLANE.update(gradient, last, curvature=blocks, push=push, damping=0.0)

    for _ in range(5):
        step, last = update(x, last)
        x = x + step[6]
        close(last.step, step.T)
    scale = diagonal + gn.FLOOR
    close(x, linear.conjugate_gradients(lambda v: matrix @ v, lambda r: r / scale, right, 5))


def last_step(step, caution=1.0) -> gn.LastStep:
    """With an overlap that nothing is known of."""
    step = jnp.asarray(step)
    caution = jnp.broadcast_to(jnp.asarray(caution, step.dtype), (len(step),))[:, None]
    return gn.LastStep(step, caution, gn.Overlap.unknown(step.dtype))


@pytest.mark.usefixtures("x64")
def test_on_a_quadratic_guesses_are_what_would_be_measured(monkeypatch):
    """But for the overlap, which is given. A failed step, or none before, or few sites ask for a
    measure."""
    monkeypatch.setattr(gn, "MANY", 2)
    rng = np.random.default_rng(0)
    drawing, damping = rng.normal(size=(20, 8)), 0.1
    diagonal = jnp.sum(drawing**2, 0)
    blocks = Curvature(jnp.zeros((6, 6, 8)), jnp.zeros((6, 1, 8)), diagonal)
    pushes = []

    def push(*tangents):
        jax.debug.callback(lambda: pushes.append(tangents))
        return [jnp.asarray(drawing) @ tangent[6] for tangent in tangents]

    def update(x, last, place):
        gradient = jnp.zeros((7, 8)).at[6].set(drawing.T @ (drawing @ x - 0.01))
        known = {"curvature": blocks, "push": push, "damping": damping}
        step, last = PLANE.update(gradient, last._replace(place=jnp.int32(place)), **known)
        jax.effects_barrier()
        return x + step[6], last

    start = last_step(np.zeros((8, 7))).on_new_lists(jnp.ones((7, 8)))
    x, first = update(np.zeros(8), start, 0)
    expected, second = update(x, first, 1)
    assert len(pushes) == 2
    ratio, age = second.overlap.ratio / gn.ALLOWANCE, jnp.ones(gn.PLACES, jnp.int32)
    guessing = first._replace(overlap=second.overlap._replace(ratio=ratio, age=age))
    found, guessed = update(x, guessing, 1)
    assert len(pushes) == 2
    assert guessed.overlap.age[1] == 2
    close(found, expected)
    close(guessed.bend, second.bend)
    close(second.bend, jnp.sum((drawing @ (expected - x)) ** 2))
    update(x, guessing._replace(caution=jnp.full((8, 1), 1.1)), 1)
    update(x, guessing, 0)
    assert len(pushes) == 4
    monkeypatch.setattr(gn, "MANY", 20)
    update(x, guessing, 1)
    assert len(pushes) == 5


def test_an_overlap_is_known_for_some_time_and_for_slopes_that_do_not_rise():
    overlap = gn.Overlap.unknown(jnp.float32)
    assert not any(overlap.is_known(place, 1.0, 4) for place in range(12))
    for ratio in (2.0, 3.0):  # too unlike to be trusted
        for place in range(12):
            overlap = overlap.after(place, False, ratio * (1 + place), 10.0)
        assert not overlap.is_known(1, 10.0, 4)
    for place in range(12):
        overlap = overlap.after(place, False, 3.0 * (1 + place), 10.0)
    known = [bool(overlap.is_known(place, 10.0, 4)) for place in range(12)]
    assert known == [False, *[True] * (gn.PLACES - 1), *[False] * (12 - gn.PLACES)]
    assert overlap.is_known(2, 13.0, 4)
    assert not overlap.is_known(2, 13.1, 4)
    assert not overlap.is_known(2, 10.0, 1)
    for age in (2, 3, 4):
        assert overlap.is_known(2, 5.0, 4)
        overlap = overlap.after(2, True, 99.0, 5.0)
        assert overlap.age[2] == age
    assert not overlap.is_known(2, 5.0, 4)
    assert overlap.ratio[2] == 9
    assert overlap.slope[2] == 5
    assert overlap.after(2, False, 7.0, 5.0).ratio[2] == 7


def test_conjugate_gradients_stop_where_a_matrix_bends_downwards():
    """Of two systems the first is positive and is solved, the second is left where it was."""
    matrix = jnp.asarray([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, -3.0]]])
    right = jnp.asarray([[1.0, 2.0], [0.0, 1.0]])
    inner = lambda a, b: jnp.sum(a * b, -1, keepdims=True)  # noqa: E731
    of = lambda v: jnp.einsum("nij,nj->ni", matrix, v)  # noqa: E731
    found = linear.conjugate_gradients(of, lambda r: r, right, 4, inner)
    np.testing.assert_allclose(found[0], np.linalg.solve(matrix[0], right[0]), rtol=1e-5)
    assert not found[1].any()


@pytest.fixture(scope="module")
def smooth(make_sites):
    """Sites, exact lists and target of a smooth picture; site 3 is parked, site 5 is hidden."""
    shape = (10, 13)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / 13
    image = np.stack([x, y, 0.5 + 0.4 * np.sin(5 * x)], -1).astype(np.float32)
    sites = make_sites(9, shape=shape)
    radius = np.array(sites.radius)
    radius[3] = PARKED_RADIUS
    log_tau = np.minimum(sites.log_tau, np.float32(5))  # below the sharpest
    sites = jax.tree.map(jnp.asarray, sites.replace(radius=radius, log_tau=log_tau))
    lists = sad.find_candidates(sites, shape, k=4)
    ids = jnp.where(lists.ids == 5, 0, lists.ids)
    lists = lists.replace(ids=ids)
    return sites, lists, make_target(lists.grid, jnp.asarray(image)), image


def test_sites_that_no_pixel_sees_stay_where_they_are(smooth):
    sites, lists, target, _ = smooth
    assert not np.isin([3, 5], lists.ids).any()
    damping = jnp.float32(0.1)
    moved = run(make_state(sites, lists), target, 5, damping)
    for a, b in zip(jax.tree.leaves(moved.sites), jax.tree.leaves(sites), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a[np.asarray([3, 5])], b[np.asarray([3, 5])], rtol=1e-6)
        assert np.any(a != b)
    assert moved.sites.radius[3] == np.float32(PARKED_RADIUS)


@pytest.mark.slow
def test_parked_sites_in_a_list_get_finite_steps(smooth):
    """With fewer sites than K, lists hold parked ones; their weight is zero."""
    sites, lists, target, _ = smooth
    radius = jnp.where(jnp.arange(9) < 2, sites.radius, PARKED_RADIUS)
    few = sites.replace(radius=radius)
    lists = sad.find_candidates(few, lists.canvas.shape)
    assert np.isin(np.arange(2, 9), lists.ids).any()
    state, damping = make_state(few, lists), jnp.float32(0.1)
    moved = run(state, target, 5, damping)
    assert np.isfinite(moved.value)
    for a, b in zip(jax.tree.leaves(moved.sites), jax.tree.leaves(few), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a[2:], b[2:], rtol=1e-6)


@pytest.mark.slow
def test_after_the_first_lists_lengths_are_guessed_unless_all_are_to_be_measured(
    smooth, monkeypatch
):
    """Of nine sites, so few that no length would be guessed otherwise."""
    monkeypatch.setattr(gn, "MANY", 0)
    sites, lists, target, _ = smooth
    run, always = (
        partial(run_gauss_newton, optimizer=gn.scale_by_plane(measured_every=every))
        for every in (3, 1)
    )
    states = [make_state(sites, lists)] * 2
    for _ in range(2):  # until all places have been measured twice
        states = [run(s, target, 3, 0.1) for run, s in zip((run, always), states, strict=True)]
        for a, b in zip(*map(jax.tree.leaves, states), strict=True):
            np.testing.assert_array_equal(a, b)
    guessed, measured = (
        run(state, target, 3, 0.1) for run, state in zip((run, always), states, strict=True)
    )
    assert np.any(guessed.optimizer.overlap.age > 1)
    assert np.all(measured.optimizer.overlap.age <= 1)
    assert np.any(guessed.sites.position != measured.sites.position)
    np.testing.assert_allclose(guessed.value, measured.value, rtol=0.1)


def test_steps_lower_the_error(smooth):
    sites, lists, target, image = smooth
    error = lambda state: np.mean((sad.render(state.sites, state.lists) - image) ** 2)  # noqa: E731
    state, damping = make_state(sites, lists), jnp.float32(0.1)
    errors = [error(state)]
    for _ in range(4):
        state = run(state, target, 1, damping)
        np.testing.assert_allclose(state.value, errors[-1], rtol=1e-4)
        errors.append(error(state))
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.5 * errors[0]
    together = run(make_state(sites, lists), target, 4, damping)
    assert int(together.step) == 4
    assert error(together) < 0.5 * errors[0]  # the curvature is that of the first step
    assert error(together) != errors[-1]


def test_a_step_that_raises_the_loss_is_taken_back_and_shortens_the_next(smooth):
    """By an optimiser that goes uphill whatever the gradient is."""
    sites, lists, target, _ = smooth
    uphill = optax.GradientTransformationExtraArgs(
        PLANE.init, lambda gradient, last, **_: (jnp.sign(gradient), last)
    )
    state = make_state(sites, lists)
    failed = run_gauss_newton(state, target, 1, jnp.float32(0.1), optimizer=uphill)
    for a, b in zip(jax.tree.leaves(failed.sites), jax.tree.leaves(sites), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not failed.optimizer.step.any()
    assert (failed.optimizer.caution == gn.FAILED).all()
    once = run(failed, target, 1, jnp.float32(0.1))
    assert set(np.asarray(once.optimizer.caution).flat) <= {
        np.float32(gn.FAILED * gn.BETTER),
        np.float32(gn.FAILED * gn.WORSE),
    }
    plain = run(make_state(sites, lists), target, 1, jnp.float32(0.1 * gn.FAILED))
    for a, b in zip(jax.tree.leaves(once.sites), jax.tree.leaves(plain.sites), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)  # on a GPU to the last bit but one
    assert np.median(run(once, target, 5, jnp.float32(0.1)).optimizer.caution) < gn.FAILED / 2


def test_the_last_step_on_a_list_is_tested_where_that_is_asked_for(smooth):
    """By an optimiser that goes uphill at its second step."""
    sites, lists, target, image = smooth

    def update(gradient, last, **options):
        step, fresh = PLANE.update(gradient, last, **options)
        return jnp.where(jnp.any(last.step != 0), jnp.sign(gradient), step), fresh

    optimizer = optax.GradientTransformationExtraArgs(PLANE.init, update)
    given = make_state(sites, lists), target
    run = partial(run_gauss_newton, damping=0.1, optimizer=optimizer)
    one, two, tested = run(*given, 1), run(*given, 2), run(*given, 2, test_last=True)
    for a, b in zip(jax.tree.leaves(tested.sites), jax.tree.leaves(one.sites), strict=True):
        np.testing.assert_array_equal(a, b)
    error = lambda state: np.mean((sad.render(state.sites, state.lists) - image) ** 2)  # noqa: E731
    assert error(two) > 2 * error(tested)


def test_a_site_whose_part_of_the_loss_grows_is_damped_more():
    """Where it grows by more than a tenth and 0.3 of the mean; the others are damped less."""
    before = Errors(*[jnp.asarray(10.0)] * 2, jnp.asarray([1.0, 1.0, 1.0, 7.0, 0.0]))
    after = Errors(*[jnp.asarray(10.0)] * 2, jnp.asarray([1.6, 1.8, 1.0, 5.6, 0.0]))
    last = last_step(np.zeros((5, 9)), [1, 1, 5, 1, 1000.0])
    found = last.worked(before, after, 5)  # the mean is 2
    np.testing.assert_allclose(found.caution.T, [[1, 4, 4, 1, 800]])
    dear = last._replace(caution=jnp.asarray([50, 50, 500, 50, 2.0])[:, None])
    worse = after._replace(of_sites=after.of_sites + 100)
    np.testing.assert_allclose(dear.worked(before, worse, 5).caution.T, [[100, 100, 500, 100, 8]])


def test_the_best_sites_are_those_of_least_loss_that_count(smooth):
    sites, lists, target, image = smooth
    state = make_state(sites, lists).replace(best=Best.none_yet(sites))
    loss = np.mean((sad.render(sites, lists) - image) ** 2)
    damping, sharpest = jnp.float32(0.1), jnp.float32(8)
    unseen = run(state, target, 1, damping, sharpest, jnp.asarray(False)).best
    assert np.isinf(unseen.loss)
    seen = run(state, target, 1, damping, sharpest, jnp.asarray(True))
    np.testing.assert_allclose(seen.best.loss, loss, rtol=1e-5)
    better = run(seen, target, 1, damping, sharpest, jnp.asarray(True))
    assert better.best.loss == better.value < seen.best.loss
    worse = better.replace(sites=sites)
    kept = run(worse, target, 1, damping, sharpest, jnp.asarray(True)).best
    for a, b in zip(jax.tree.leaves(kept.sites), jax.tree.leaves(seen.sites), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def blur():
    """A linear operator on pictures of two channels, as a matrix."""
    return np.random.default_rng(4).normal(size=(30, 2 * LOSS_SHAPE[0] * LOSS_SHAPE[1]))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_a_step_solves_the_damped_system(make_problem, blur):
    """J and H = A'A as matrices."""
    problem = make_problem(LOSS_SHAPE, 2, 1, False)
    sites, lists = jax.tree.map(jnp.asarray, problem.sites), problem.lists
    data = np.random.default_rng(5).normal(size=30)
    loss = lambda image: jnp.sum((blur @ image.ravel() - data) ** 2) / 2  # noqa: E731
    jacobian = problem.jacobian.reshape(blur.shape[1], -1)
    slope = blur.T @ (blur @ (problem.error + problem.image.ravel()) - data)
    hessian = blur.T @ blur
    height = slope @ hessian @ slope / (slope @ slope)
    diagonal = DAMPING * np.sum(jacobian**2, 0) + gn.FLOOR
    matrix = jacobian.T @ hessian @ jacobian + height * np.diag(diagonal)
    expected = np.linalg.solve(matrix, -jacobian.T @ slope).reshape(8, -1)
    assert np.abs(expected).max() > 0.3  # some entries at the trust region's border

    optimizer = sad.gauss_newton(optax.constant_schedule(DAMPING), iterations=300)
    update = jax.jit(partial(optimizer.update, lists=lists, loss=loss))
    found, state = update(sites, optimizer.init(sites), sites)
    wanted = tangent.as_updates(sites, gn.TRUST_REGION.capped(jnp.asarray(expected)))
    room = np.log(gn.SHARPEST * max(LOSS_SHAPE)) - sites.log_tau
    assert np.any(room < wanted.log_tau)
    assert np.any(room > wanted.log_tau)
    wanted = wanted.replace(log_tau=jnp.minimum(wanted.log_tau, room))
    for name, leaf in vars(wanted).items():
        np.testing.assert_allclose(getattr(found, name), leaf, atol=1e-6, err_msg=name)
    assert state.steps == 1


@pytest.mark.slow
def test_a_step_does_not_depend_on_the_losses_unit(make_sites):
    sites = make_sites(9, shape=LOSS_SHAPE)
    lists, optimizer = sad.find_candidates(sites, LOSS_SHAPE), sad.gauss_newton()
    goal = np.random.default_rng(1).uniform(size=(*LOSS_SHAPE, 3)).astype(np.float32)

    @jax.jit
    def step(scale):
        loss = lambda image: scale * jnp.mean((image - goal) ** 2)  # noqa: E731
        return optimizer.update(sites, optimizer.init(sites), sites, lists=lists, loss=loss)[0]

    first, second = step(1.0), step(2.0**-20)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_a_step_goes_through_the_users_drawing(make_sites):
    """Frames of the negative, of another scale, are the same problem: the step is the same."""
    sites = jax.tree.map(jnp.asarray, make_sites(9, shape=LOSS_SHAPE))
    sites = sites.replace(log_tau=jnp.minimum(sites.log_tau, 5))
    lists, optimizer = sad.find_candidates(sites, LOSS_SHAPE), sad.gauss_newton()
    goal = np.random.default_rng(1).uniform(size=(*LOSS_SHAPE, 3)).astype(np.float32)
    update = lambda loss, draw: jax.jit(  # noqa: E731
        lambda s: optimizer.update(s, optimizer.init(s), s, lists=lists, loss=loss, draw=draw)[0]
    )
    plain = update(lambda image: jnp.mean((image - goal) ** 2), None)(sites)
    for implementation in (None, "xla", "pallas_interpret"):
        render = partial(sad.render, implementation=implementation)
        frames = lambda s, lists: jnp.stack([50 * (1 - render(s, lists))] * 2)  # noqa: E731, B023
        drawn = update(lambda image: jnp.mean((1 - image / 50 - goal) ** 2), frames)(sites)
        for found, expected in zip(*map(jax.tree.leaves, (drawn, plain)), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.slow
def test_fifteen_steps_do_more_than_thirty_of_adam(make_sites):
    """Deconvolution of a step edge, from four starts, with a total variation convex from above."""
    goal = np.where(np.arange(16)[:, None, None] > np.arange(24)[None, :, None] / 2, 0.8, 0.2)

    def loss(image):
        blurred = image
        for axis in (0, 1):
            blurred = (jnp.roll(blurred, 1, axis) + blurred + jnp.roll(blurred, -1, axis)) / 3
        squared = jnp.diff(image, axis=1) ** 2 + 1e-6
        length = jax.lax.stop_gradient(jnp.sqrt(squared))
        return jnp.mean((blurred - goal) ** 2) + 1e-3 * jnp.mean(squared / length + length) / 2

    gray, keys = jnp.full((16, 24, 1), 0.5), jax.random.split(jax.random.key(0), 4)
    starts = jax.jit(jax.vmap(lambda key: sad.init_sites(gray, 12, key=key)))(keys)

    def after(steps, **options):
        found = sad.minimize_ensemble(loss, starts, (16, 24), steps=steps, **options)
        return float(found.losses.mean())

    assert after(15, optimizer=sad.gauss_newton(), refresh_every=1) < 0.9 * after(30)


@pytest.mark.slow
@pytest.mark.parametrize("bent", [True, False])
def test_a_loss_that_is_not_convex_falls_in_every_step_that_is_done(bent):
    """Phase retrieval: intensities of a Fourier transform; also with squares of linear parts."""
    goal = np.zeros((8, 12, 1), np.float32)
    goal[2:5, 3:8] = 0.8
    intensity = lambda image: jnp.abs(jnp.fft.fft2(image, (16, 24), axes=(0, 1))) ** 2  # noqa: E731
    seen, of = intensity(goal), intensity if bent else sad.linearized(intensity)
    loss = lambda image: jnp.mean((of(image) - seen) ** 2)  # noqa: E731
    sites = sad.init_sites(jnp.full((8, 12, 1), 0.5), 12, key=jax.random.key(0))
    optimizer, heard = sad.gauss_newton(0.01), []
    state = sad.make_state(sites, (8, 12), optimizer)
    step = sad.make_step(loss, optimizer, color_range=None)
    for _ in range(30):
        before = state
        state, value = step(state)
        heard.append(float(value))
        if float(state.optimizer.caution) > float(before.optimizer.caution):  # taken back
            np.testing.assert_allclose(state.sites.position, before.sites.position)
    assert (np.diff(heard) <= 1e-6 * heard[0]).all()
    assert heard[-1] < 0.1 * heard[0]
