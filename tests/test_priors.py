"""Priors: values against loops in float64, slopes against finite differences, what they prefer."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax import priors

SHAPES = [(1, 1, 1), (1, 5, 3), (2, 2, 4), (5, 7, 1), (3, 9, 5)]
OF_PICTURES = [priors.total_variation, priors.second_variation]


def picture(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape)


def slow_total(image: np.ndarray, rounding: float) -> float:
    height, width, _ = image.shape
    lengths = []
    for y, x in itertools.product(range(height), range(width)):
        squared = rounding**2
        if y + 1 < height:
            squared += np.sum((image[y + 1, x] - image[y, x]) ** 2)
        if x + 1 < width:
            squared += np.sum((image[y, x + 1] - image[y, x]) ** 2)
        lengths.append(np.sqrt(squared))
    return np.mean(lengths)


def slow_second(image: np.ndarray, rounding: float) -> float:
    height, width, _ = image.shape
    lengths = []
    for y, x in itertools.product(range(height), range(width)):
        squared = rounding**2
        if 0 < y < height - 1:
            squared += np.sum((image[y + 1, x] - 2 * image[y, x] + image[y - 1, x]) ** 2)
        if 0 < x < width - 1:
            squared += np.sum((image[y, x + 1] - 2 * image[y, x] + image[y, x - 1]) ** 2)
        if y + 1 < height and x + 1 < width:
            mixed = image[y + 1, x + 1] - image[y + 1, x] - image[y, x + 1] + image[y, x]
            squared += 2 * np.sum(mixed**2)
        lengths.append(np.sqrt(squared))
    return np.mean(lengths)


def slow_sites(values: np.ndarray, ids: np.ndarray, alive: np.ndarray, rounding: float) -> float:
    lengths = [
        np.sqrt(np.sum((values[i] - values[j]) ** 2) + rounding**2)
        for cell in ids.reshape(-1, ids.shape[-1])
        for i, j in itertools.combinations(cell, 2)
        if alive[i] and alive[j]
    ]
    return np.mean(lengths) if lengths else 0.0


@pytest.mark.parametrize("rounding", [1e-3, 0.5])
def test_lengths_of_pictures_are_those_of_loops(rounding):
    for shape in SHAPES:
        image = picture(shape)
        for found, slow in zip(OF_PICTURES, (slow_total, slow_second), strict=True):
            value = jax.jit(partial(found, rounding=rounding))(image)
            np.testing.assert_allclose(value, slow(image, rounding), rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("prior", OF_PICTURES)
def test_slopes_are_finite_differences_and_second_derivatives_bound_them(prior):
    """Along a random line the quadratic of slope and second derivative lies above the prior."""
    of = partial(prior, rounding=0.05)
    image, change = jnp.asarray(picture((5, 7, 3))), jnp.asarray(picture((5, 7, 3), 1) - 0.5)
    along = jax.jit(lambda t: of(image + t * change))
    slope, bend = jax.grad(along)(0.0), jax.grad(jax.grad(along))(0.0)
    np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-6)
    for t in (-2.0, -0.3, 0.1, 1.0):
        assert along(0.0) + slope * t + bend * t**2 / 2 >= along(t)


def test_ramps_have_slopes_and_no_bends():
    y, x = np.mgrid[:6, :8].astype(np.float32) / 8
    ramp = jnp.stack([x + 2 * y, 1 - x], -1)
    assert priors.total_variation(ramp) > 0.2
    np.testing.assert_allclose(priors.second_variation(ramp, rounding=1e-3), 1e-3, rtol=1e-3)


@pytest.mark.parametrize(("shape", "n"), [((1, 1), 1), ((5, 7), 3), ((6, 9), 12)])
@pytest.mark.parametrize("field", ["color", "log_tau"])
def test_sites_are_compared_with_those_that_share_a_list(make_sites, reference, shape, n, field):
    """Also free slots in lists of fewer sites than K, which do not count."""
    sites = make_sites(n, 3, shape)
    if n == 3:
        sites = sites.replace(radius=np.where(np.arange(3) == 1, -1e12, sites.radius).astype("f4"))
    lists = reference.lists(sites, shape, 4)
    values = np.asarray(getattr(sites, field), np.float64).reshape(n, -1)
    expected = slow_sites(values, np.asarray(lists.ids), np.asarray(sites.alive), 0.01)
    of = jax.value_and_grad(lambda s: priors.site_variation(s, lists, field, rounding=0.01))
    found, slope = jax.jit(of)(sites)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    if n == 12:
        i, step = int(lists.ids[2, 3, 0]), 1e-3
        moved = [values.copy() for _ in range(2)]
        moved[0][i, 0] += step
        moved[1][i, 0] -= step
        ids, alive = np.asarray(lists.ids), np.asarray(sites.alive)
        up, down = (slow_sites(v, ids, alive, 0.01) for v in moved)
        np.testing.assert_allclose(
            np.ravel(getattr(slope, field)[i])[0], (up - down) / (2 * step), rtol=2e-3
        )


def test_wrong_arguments_are_told_in_a_line(make_sites, reference):
    for prior in OF_PICTURES:
        with pytest.raises(ValueError, match=r"expected an image \[H, W, C\], got float32\[3, 4\]"):
            prior(jnp.zeros((3, 4)))
    sites = make_sites(5)
    lists = reference.lists(sites, (12, 16))
    with pytest.raises(ValueError, match=r"expected a field, one of position, .*, got 'colour'"):
        priors.site_variation(sites, lists, "colour")
    with pytest.raises(ValueError, match="expected lists made for the 4 sites given"):
        priors.site_variation(make_sites(4), lists)


def test_in_a_ramps_hole_the_first_prior_takes_a_step_and_the_second_does_not():
    """Whatever rises from one side to the other has the same total variation, a step the same."""
    ramp = jnp.linspace(0, 1, 21)[None, :, None] * jnp.ones((12, 1, 2))
    step = jnp.where(jnp.arange(21)[:, None] < 10, ramp[:, 5:6], ramp[:, 15:16])
    step = ramp.at[:, 6:15].set(step[:, 6:15])
    first, second = (jax.jit(partial(f, rounding=1e-6)) for f in OF_PICTURES)
    np.testing.assert_allclose(first(step), first(ramp), rtol=1e-4)
    assert second(step) > 1e4 * second(ramp)


@pytest.mark.slow
def test_alike_neighbours_are_reached_through_a_draw():
    """A weight on the sites' colours makes them one; without splits, as the loss sees sites."""
    goal = np.random.default_rng(0).uniform(size=(6, 9, 2)).astype(np.float32)
    sites = sad.init_sites(goal, 5, key=jax.random.key(0))

    def draw(sites, lists):
        return {"image": sad.render(sites, lists), "rough": priors.site_variation(sites, lists)}

    def loss(drawn, weight):
        return jnp.mean((drawn["image"] - goal) ** 2) + weight * drawn["rough"]

    options = {"steps": 60, "draw": draw}
    found = [sad.minimize(loss, sites, (6, 9), w, **options).sites.color for w in (0.0, 10.0)]
    assert np.ptp(found[1], 0).max() < 0.1 * np.ptp(found[0], 0).max()
