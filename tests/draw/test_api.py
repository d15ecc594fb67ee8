"""Pictures against brute force in float64, derivatives against finite differences and autodiff."""

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sad_jax as sad
from sad_jax.draw import xla
from sad_jax.lists import view
from sad_jax.model.canvas import Grid

CASES = [  # shape, sites, channels, K, cell
    ((1, 1), 1, 3, 8, 1),
    ((1, 19), 6, 1, 8, 2),
    ((11, 1), 40, 4, 3, 1),
    ((13, 10), 30, 3, 8, 1),
    ((9, 14), 30, 7, 5, 2),
    ((10, 15), 40, 1, 32, 1),
    ((7, 5), 4, 4, 1, 1),
]
FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")


def cotangent_like(image) -> jax.Array:
    """A fixed random cotangent."""
    return jnp.asarray(np.random.default_rng(1).normal(size=image.shape), image.dtype)


def gradient(sites, lists, implementation):
    """The image, and the pull-back of a fixed cotangent."""

    @jax.jit
    def run(sites):
        draw = partial(sad.render, lists=lists, implementation=implementation)
        image, pull = jax.vjp(draw, sites)
        return image, pull(cotangent_like(image))[0]

    return run(sites)


@pytest.mark.parametrize(("shape", "n", "channels", "k", "cell"), CASES)
def test_render_and_both_gradients_agree_with_brute_force(
    make_sites, reference, assert_same, shape, n, channels, k, cell
):
    """The picture equals the float64 one; hand-written and JAX's own reverse pass agree."""
    sites = make_sites(n, channels, shape)
    lists = reference.lists(sites, shape, k, cell)
    expected = reference.render(sites, lists)
    plain, plain_gradient = gradient(sites, lists, "xla")
    image, hand_gradient = gradient(sites, lists, "xla_vjp")
    assert image.shape == (*shape, channels)
    assert image.dtype == np.float32
    np.testing.assert_allclose(plain, expected, atol=2e-4)
    np.testing.assert_allclose(image, plain, atol=1e-5)
    assert_same(hand_gradient, plain_gradient, 2e-4)


def test_pictures_of_more_cells_than_one_block_agree(make_sites, reference, assert_same):
    sites = make_sites(60, 1, (130, 140))
    lists = reference.lists(sites, (130, 140), k=4)
    image, hand_gradient = gradient(sites, lists, None)
    np.testing.assert_allclose(image, reference.render(sites, lists), atol=2e-4)
    assert_same(hand_gradient, gradient(sites, lists, "xla")[1], 1e-3)


@pytest.mark.parametrize("lanes", [1, 8])
def test_the_size_of_blocks_does_not_change_the_picture(make_sites, reference, lanes):
    sites = make_sites(20, shape=(9, 14))
    ids = reference.lists(sites, (9, 14), cell=2).ids
    draw = lambda lanes: xla.render(Grid(9, 14, 2, lanes), sites, ids)  # noqa: E731
    np.testing.assert_allclose(jax.jit(draw, static_argnums=0)(lanes), draw(16384), atol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("shape", "channels", "cell"), [((5, 7), 1, 1), ((7, 4), 4, 2), ((9, 6), 3, 4), ((1, 6), 3, 1)]
)
def test_vjp_equals_central_differences_in_float64(make_sites, reference, shape, channels, cell):
    sites = reference.double(make_sites(9, channels, shape))
    lists = reference.lists(sites, shape, 4, cell)
    image, found = gradient(sites, lists, None)
    assert image.dtype == np.float64
    np.testing.assert_allclose(image, reference.render(sites, lists), rtol=1e-9)
    cotangent = np.asarray(cotangent_like(image))
    flat, restore = jax.flatten_util.ravel_pytree(sites)

    def total(values) -> float:
        return np.vdot(reference.render(restore(values), lists), cotangent)

    steps = np.diag(1e-6 * np.maximum(np.abs(flat), 1))
    expected = [(total(flat + s) - total(flat - s)) / (2 * s.max()) for s in steps]
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(found)[0], expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("implementation", "modes"), [("xla", ("fwd", "rev")), ("xla_vjp", ("rev",))]
)
def test_derivatives_pass_the_check_of_jax(make_sites, reference, implementation, modes):
    sites = reference.double(make_sites(5, 1, (4, 5)))
    lists = reference.lists(sites, (4, 5), k=3)
    draw = jax.jit(partial(sad.render, lists=lists, implementation=implementation))
    check_grads(draw, (sites,), order=1, modes=modes, rtol=1e-5, atol=1e-5, eps=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_jvp_hessian_and_forward_over_reverse_agree(make_sites, reference):
    sites = reference.double(make_sites(4, 1, (4, 5)))
    lists = reference.lists(sites, (4, 5), k=3)
    flat, restore = jax.flatten_util.ravel_pytree(sites)
    vector = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape))

    def loss(v, implementation):
        image = sad.render(restore(v), lists, implementation=implementation)
        return jnp.sum((image - 0.3) ** 2)

    plain = partial(loss, implementation="xla")
    default = partial(loss, implementation=None)
    hessian = jax.jit(jax.hessian(plain))(flat)
    assert np.isfinite(hessian).all()
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-9 * np.abs(hessian).max())
    value, tangent = jax.jit(lambda v: jax.jvp(plain, (v,), (vector,)))(flat)
    np.testing.assert_allclose(tangent, jax.grad(default)(flat) @ vector, rtol=1e-9)
    product = jax.jit(lambda v: jax.jvp(jax.grad(default), (v,), (vector,))[1])(flat)
    np.testing.assert_allclose(product, hessian @ vector, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(value, default(flat))


def test_a_batch_of_sites_and_lists_equals_a_loop(make_sites, reference, assert_same):
    batch = [make_sites(12, shape=(6, 9), seed=seed) for seed in range(3)]
    lists = [reference.lists(sites, (6, 9), k=4) for sites in batch]
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731

    def value_and_gradient(sites, lists):
        loss = lambda s: jnp.sum(sad.render(s, lists) ** 2)  # noqa: E731
        plain = sad.render(sites, lists, implementation="xla")
        return jax.value_and_grad(loss)(sites), plain

    together = jax.jit(jax.vmap(value_and_gradient))(stack(batch), stack(lists))
    one = jax.jit(value_and_gradient)
    assert_same(together, stack([one(s, c) for s, c in zip(batch, lists, strict=True)]), 1e-4)


def test_render_runs_inside_scan_and_checkpoint(make_sites, reference, assert_same):
    sites = make_sites(12, shape=(6, 9))
    lists = reference.lists(sites, (6, 9), k=4)
    loss = lambda sites: jnp.sum(sad.render(sites, lists) ** 2)  # noqa: E731

    def loss_in_scan(sites):
        step = lambda total, shift: (  # noqa: E731
            total + jax.checkpoint(loss)(sites.replace(radius=sites.radius + shift)),
            None,
        )
        return jax.lax.scan(step, 0.0, jnp.asarray([0.0, 0.0]))[0]

    found = jax.jit(jax.value_and_grad(loss_in_scan))(sites)
    expected = jax.tree.map(lambda leaf: 2 * leaf, jax.value_and_grad(loss)(sites))
    assert_same(found, expected, 1e-4)


def test_given_a_canvas_the_exact_lists_are_used(make_sites):
    sites = make_sites(20)
    canvas = sad.Canvas((12, 16), k=3, cell=2)
    lists = sad.find_candidates(sites, canvas)
    np.testing.assert_array_equal(sad.render(sites, canvas), sad.render(sites, lists))
    np.testing.assert_array_equal(sad.owners(sites, canvas), sad.owners(sites, lists))


@pytest.mark.parametrize(
    ("shape", "n", "channels", "k", "cell"),
    [((1, 19), 6, 1, 8, 4), *[CASES[i] for i in (0, 3, 4)]],
)
def test_query_at_pixel_centers_is_render(make_sites, reference, shape, n, channels, k, cell):
    sites = make_sites(n, channels, shape)
    lists = reference.lists(sites, shape, k, cell)
    points = reference.centers(shape).reshape(*shape, 2).astype(np.float32)
    found = sad.query(sites, lists, points)
    np.testing.assert_allclose(found, sad.render(sites, lists), atol=1e-5)
    resampled = sad.resample(sites, lists, shape)
    np.testing.assert_allclose(resampled, sad.render(sites, lists), atol=1e-5)


def test_query_between_pixels_takes_the_list_of_the_cell(make_sites, reference):
    sites = make_sites(30)
    lists = reference.lists(sites, (12, 16), 3, 2)
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -2], [18, 14], (60, 2))  # also outside the canvas
    column, row = np.clip(np.floor((points + 0.5) / 2).astype(int), 0, [7, 5]).T
    ids = np.asarray(lists.ids)[row, column]
    weights = reference.weights(sites, points, ids, 16)
    expected = np.einsum("mk,mkc->mc", weights, sites.color[ids])
    found = sad.query(sites, lists, points.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def exact_blend(reference, sites, points, k: int, size: int) -> np.ndarray:
    """In float64, every point by the K sites of least score there."""
    ids = np.argsort(reference.scores(sites, points, size), axis=1, kind="stable")[:, :k]
    weights = reference.weights(sites, points, ids, size)
    return np.einsum("mk,mkc->mc", weights, np.asarray(sites.color, np.float64)[ids])


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 200])
def test_query_given_a_canvas_finds_the_exact_list_of_every_point(make_sites, reference, count):
    """Wherever it lies; a NaN among the points spoils no other."""
    sites = make_sites(80)
    points = np.random.default_rng(0).uniform([-9, -9], [25, 21], (count, 2)).astype(np.float32)
    expected = exact_blend(reference, sites, points, 3, 16)
    points[::7] = np.nan
    expected[::7] = np.nan
    found = sad.query(sites, sad.Canvas((12, 16), k=3, cell=4), points)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.slow
def test_query_given_a_canvas_has_the_gradients_of_the_lists(make_sites, assert_same):
    sites = make_sites(80)
    points = jnp.asarray(np.mgrid[0:12, 0:16][::-1].reshape(2, -1).T, jnp.float32)

    def total(sites, points, lists):
        color = sad.query(sites, lists, points)
        return jnp.sum(color * cotangent_like(color))

    slope = jax.jit(jax.grad(total, (0, 1)), static_argnums=2)
    expected = jax.grad(total, (0, 1))(sites, points, sad.find_candidates(sites, (12, 16)))
    assert_same(slope(sites, points, sad.Canvas((12, 16))), expected, 1e-4)


def test_query_is_differentiable_in_the_points_in_both_modes(make_sites, reference):
    sites = make_sites(10)
    lists = reference.lists(sites, (12, 16))
    points = jnp.asarray([[3.2, 4.1], [9.9, 7.3]])
    color = lambda points: sad.query(sites, lists, points)  # noqa: E731
    forward, reverse = jax.jacfwd(color)(points), jax.jacrev(color)(points)
    np.testing.assert_allclose(forward, reverse, rtol=1e-4, atol=1e-5)
    step = jnp.asarray([2e-3, 0.0])
    difference = (color(points + step) - color(points - step)) / 4e-3
    own = jnp.stack([forward[i, :, i, 0] for i in range(2)])
    np.testing.assert_allclose(own, difference, rtol=2e-2, atol=2e-3)
    assert np.abs(own).max() > 1e-3


def test_resampling_at_twice_the_size_queries_the_stretched_canvas(make_sites, reference):
    sites = make_sites(30)
    lists = reference.lists(sites, (12, 16), cell=4)
    y, x = jnp.meshgrid(jnp.arange(24) / 2 - 0.25, jnp.arange(32) / 2 - 0.25, indexing="ij")
    expected = sad.query(sites, lists, jnp.stack([x, y], -1))
    np.testing.assert_allclose(sad.resample(sites, lists, (24, 32)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "new_shape", "samples"),
    [
        ((12, 16), (30, 40), (1, 1)),
        ((12, 16), (12, 16), (1, 1)),
        ((12, 16), (25, 7), (1, 3)),  # stretched in one direction, shrunk in the other
        ((1, 1), (3, 2), (1, 1)),
        ((13, 10), (6, 5), (3, 2)),
    ],
)
def test_resampling_a_canvas_finds_the_exact_list_of_every_new_pixel(
    make_sites, reference, shape, new_shape, samples
):
    """And a smaller picture is the mean of enough points in each of its pixels."""
    sites = make_sites(60, 2, shape)
    fine = np.multiply(new_shape, samples)
    step = np.divide(shape, fine)[::-1]
    points = (reference.centers(tuple(fine)) + 0.5) * step - 0.5
    expected = exact_blend(reference, sites, points, 4, max(shape))
    expected = expected.reshape(new_shape[0], samples[0], new_shape[1], samples[1], 2)
    found = sad.resample(sites, sad.Canvas(shape, k=4), new_shape)
    np.testing.assert_allclose(found, expected.mean((1, 3)), atol=3e-4)


@pytest.mark.slow
def test_resampling_in_bands_shows_no_seam_and_has_a_gradient(make_sites, monkeypatch, assert_same):
    """At the canvas's own size it is the picture and its gradient, to the bit for the lists."""
    sites, canvas = make_sites(40, shape=(19, 12)), sad.Canvas((19, 12), k=4)
    monkeypatch.setattr(view, "BAND", 12 * 5)
    assert view.View.of(canvas, canvas.shape).bands == 4
    picture, pull = jax.vjp(lambda s: sad.resample(s, canvas, canvas.shape), sites)
    lists = sad.find_candidates(sites, canvas)
    expected, expected_pull = jax.vjp(lambda s: sad.render(s, lists), sites)
    np.testing.assert_allclose(picture, expected, atol=1e-6)
    cotangent = cotangent_like(expected)
    assert_same(pull(cotangent), expected_pull(cotangent), 1e-4)


@pytest.mark.parametrize(("shape", "n", "channels", "k", "cell"), [CASES[i] for i in (0, 3, 4, 5)])
def test_owners_are_the_sites_of_largest_weight(make_sites, reference, shape, n, channels, k, cell):
    sites = make_sites(n, channels, shape)
    lists = reference.lists(sites, shape, k, cell)
    points, ids = reference.pixels(lists)
    weights = reference.weights(sites, points, ids, max(shape))
    best = np.take_along_axis(ids, weights.argmax(1)[:, None], 1).reshape(shape)
    found = np.asarray(sad.owners(sites, lists))
    assert found.dtype == np.int32
    clear = np.sort(weights, 1)
    clear = (clear[:, -1] - clear[:, -2] if k > 1 and n > 1 else clear[:, -1]).reshape(shape)
    np.testing.assert_array_equal(found[clear > 1e-4], best[clear > 1e-4])
    assert np.mean(clear > 1e-4) > 0.9


@pytest.mark.parametrize(("shape", "new_shape"), [((12, 16), (36, 48)), ((15, 9), (5, 3))])
def test_resizing_the_sites_keeps_the_picture(make_sites, reference, shape, new_shape):
    """Distances and radii over S stay what they were, so colours at scaled points do too."""
    sites = make_sites(20, shape=shape)
    scale = new_shape[0] / shape[0]
    resized = sad.resize(sites, shape, new_shape)
    points = np.random.default_rng(0).uniform(0, np.asarray(shape[::-1]) - 1, (50, 2))
    everyone = reference.lists(sites, shape, k=20)
    found = sad.query(resized, reference.lists(resized, new_shape, k=20), points * scale)
    np.testing.assert_allclose(found, sad.query(sites, everyone, points), atol=1e-4)


def test_resizing_as_the_official_programs_do_moves_positions_only(make_sites):
    sites = make_sites(20)
    resized = sad.resize(sites, (12, 16), (24, 32), scale_radius=False)
    np.testing.assert_array_equal(resized.position, 2 * sites.position)
    for name in set(FIELDS) - {"position"}:
        np.testing.assert_array_equal(getattr(resized, name), getattr(sites, name))


def test_an_unknown_implementation_is_refused(make_sites):
    with pytest.raises(ValueError, match=r"expected implementation None or one of .* got 'cuda'"):
        sad.render(make_sites(4), (3, 3), implementation="cuda")


@pytest.mark.parametrize(
    ("field", "shape", "expected"),
    [
        ("position", (4, 3), r"\(4, 2\)"),
        ("log_tau", (5,), r"\(4,\)"),
        ("radius", (4, 1), r"\(4,\)"),
        ("color", (4,), r"\(4, 4\)"),
        ("color", (4, 0), r"\(4, 0\)"),
        ("direction", (2, 2), r"\(4, 2\)"),
        ("log_aniso", (), r"\(4,\)"),
    ],
)
@pytest.mark.parametrize("use", [sad.render, sad.owners, partial(sad.query, points=np.zeros(2))])
def test_fields_that_do_not_fit_together_are_refused(make_sites, field, shape, expected, use):
    sites = make_sites(4).replace(**{field: np.ones(shape, np.float32)})
    with pytest.raises(ValueError, match=rf"expected sites.{field} of shape {expected}.*, got"):
        use(sites, lists=(3, 3))


@pytest.mark.parametrize("use", [sad.render, sad.owners, partial(sad.query, points=np.zeros(2))])
@pytest.mark.parametrize("n", [7, 9])
def test_lists_of_other_sites_are_refused(make_sites, reference, use, n):
    """Ids would be out of range, or sites left out."""
    lists = reference.lists(make_sites(8), (3, 3), k=4)
    message = rf"expected lists made for the {n} sites given, got lists of 8 sites"
    with pytest.raises(ValueError, match=message):
        use(make_sites(n), lists=lists)
    with pytest.raises(ValueError, match=message):
        sad.propagate(make_sites(n), lists, key=jax.random.key(0))


def test_points_that_are_no_pairs_are_refused(make_sites):
    with pytest.raises(
        ValueError, match=r"expected points \[..., 2\], real.*, got float64\[5, 3\]"
    ):
        sad.query(make_sites(4), (3, 3), np.zeros((5, 3)))
