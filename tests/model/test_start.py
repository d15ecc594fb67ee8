"""The published start: on edges, with the picture's colours, and the same for the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import sad_jax as sad
from sad_jax.model.start import sobel

KEY = jax.random.key(0)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def expected_sobel(image: np.ndarray) -> np.ndarray:
    luma = image[..., :3] @ [0.299, 0.587, 0.114] if image.shape[2] in (3, 4) else image.mean(2)
    return np.hypot(*(scipy.ndimage.sobel(luma, axis, mode="nearest") for axis in (0, 1))) / 4


@pytest.mark.parametrize("shape", [(13, 17, 3), (13, 17, 4), (13, 17, 1), (9, 8, 7), (1, 9, 3)])
def test_edges_are_the_sobel_magnitude_of_the_luma(shape):
    image = noise(*shape)
    np.testing.assert_allclose(sobel(image), expected_sobel(image), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "n"),
    [((13, 17, 3), 50), ((1, 1, 3), 1), ((1, 9, 1), 4), ((9, 1, 4), 20), ((5, 6, 7), 30)],
)
def test_every_field_starts_as_published(shape, n):
    image = noise(*shape)
    sites = sad.init_sites(image, n, key=KEY)
    corner = np.asarray([shape[1] - 1, shape[0] - 1])
    position = np.asarray(sites.position)
    assert sites.num_sites == n
    assert sites.channels == shape[2]
    assert ((position >= 0) & (position <= corner)).all()
    column, row = np.round(position).astype(int).T
    np.testing.assert_array_equal(sites.color, image[row, column])
    edges = expected_sobel(image)[row, column]
    np.testing.assert_allclose(sites.log_tau, 5 + 2 * edges**0.25, atol=2e-2)
    np.testing.assert_array_equal(sites.radius, np.full(n, 4))
    np.testing.assert_array_equal(sites.direction, np.tile([1, 0], (n, 1)))
    np.testing.assert_array_equal(sites.log_aniso, np.zeros(n))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(sites))


def test_places_without_edges_are_passed_over():
    image = np.zeros((40, 60, 3), np.float32)
    image[:, 45:] = 1  # one vertical edge
    sites = sad.init_sites(image, 30, key=KEY)
    assert (np.abs(sites.position[:, 0] - 44.5) <= 1.5).all()
    rows = np.sort(sites.position[:, 1])
    assert np.diff(rows).max() < 6, "not spread along the edge"


def test_a_flat_picture_gets_its_sites_all_the_same():
    sites = sad.init_sites(np.full((20, 30, 3), 0.5, np.float32), 64, key=KEY)
    counts, *_ = np.histogram2d(*np.asarray(sites.position).T, bins=4, range=[[0, 29], [0, 19]])
    assert counts.min() >= 2, "not spread evenly"
    np.testing.assert_array_equal(sites.log_tau, np.full(64, 5))


def test_the_same_key_gives_the_same_sites_and_another_one_others():
    image = noise(13, 17, 3)
    start = lambda seed: sad.init_sites(image, 20, key=jax.random.key(seed)).position  # noqa: E731
    np.testing.assert_array_equal(start(1), start(1))
    assert np.any(start(1) != start(2))


def same(found, expected) -> None:
    """Places are equal to the last bit, the rest nearly."""
    np.testing.assert_array_equal(found.position, expected.position)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, bool])
def test_whole_numbers_are_scaled_by_their_largest(dtype):
    largest = 1 if dtype is bool else np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, largest, (13, 17, 3), endpoint=True, dtype=dtype)
    scaled = (image / np.float64(largest)).astype(np.float32)
    start = lambda image: sad.init_sites(image, 20, key=KEY)  # noqa: E731
    np.testing.assert_array_equal(start(image).color, start(scaled).color)
    same(start(image), start(scaled))
    same(start(jnp.asarray(image)), start(scaled))
    if dtype is np.uint8:
        same(jax.jit(start)(image), start(scaled))


def test_a_picture_without_channels_has_one():
    image = noise(13, 17)
    same(sad.init_sites(image, 20, key=KEY), sad.init_sites(image[..., None], 20, key=KEY))


def test_within_jit_and_vmap_the_same_sites_come_out():
    images, keys = noise(3, 13, 17, 3), jax.random.split(KEY, 3)
    start = lambda image, key: sad.init_sites(image, 20, key=key)  # noqa: E731
    together = jax.jit(jax.vmap(start))(images, keys)
    for i in range(3):
        same(jax.tree.map(lambda leaf: leaf[i], together), start(images[i], keys[i]))  # noqa: B023


def test_colours_alone_have_a_derivative_in_the_picture():
    image = noise(13, 17, 3)

    def total(image):
        return sum(map(jnp.sum, jax.tree.leaves(sad.init_sites(image, 9, key=KEY))))

    slope = jax.grad(total)(jnp.asarray(image))
    assert slope.sum() == 27
    assert set(np.unique(slope)) <= {0, 1, 2}


def test_float64_stays_float64(x64):
    image = np.random.default_rng(0).uniform(size=(13, 17, 3))
    for dtype in (np.float32, np.float64):
        sites = sad.init_sites(image.astype(dtype), 20, key=KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(sites)} == {np.dtype(dtype)}
    column, row = np.round(sites.position).astype(int).T
    np.testing.assert_array_equal(sites.color, image[row, column])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros(5), r"expected a picture \[H, W\] or \[H, W, C\], got shape \(5,\)"),
        (np.zeros((0, 5, 3)), r"expected a picture of at least one pixel, got shape \(0, 5, 3\)"),
        (np.zeros((4, 5, 0)), r"expected a picture of at least one pixel, got shape \(4, 5, 0\)"),
        (np.zeros((2, 4, 5, 3)), r"expected a picture .*, got shape \(2, 4, 5, 3\)"),
        (np.zeros((4, 5, 3), complex), "expected float or unsigned values, got complex128"),
        (np.zeros((4, 5, 3), int), "expected float or unsigned values, got int64"),
        (np.full((4, 5, 3), np.nan), "expected finite values, got 60 NaN or infinite ones"),
        (np.full((4, 5), np.inf, np.float32), "expected finite values, got 20 NaN or infinite"),
        (None, r"expected a picture .* got shape \(\)"),
    ],
)
def test_what_is_no_picture_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        sad.init_sites(image, 4, key=KEY)


@pytest.mark.parametrize("count", [0, -3, 2.5, "4", None])
def test_counts_that_are_none_are_refused(count):
    with pytest.raises(ValueError, match="expected num_sites, a whole number of at least 1, got"):
        sad.init_sites(noise(4, 5, 3), count, key=KEY)


def test_a_count_must_be_known_while_jax_traces():
    with pytest.raises(ValueError, match=r"expected num_sites known while JAX traces .*, got"):
        jax.jit(sad.init_sites)(noise(4, 5, 3), 4, key=KEY)


@pytest.mark.parametrize("key", [0, None, np.zeros(2, np.float32), jax.random.split(KEY)])
def test_keys_that_are_none_are_refused(key):
    with pytest.raises(ValueError, match=r"expected one JAX random key .*, got"):
        sad.init_sites(noise(4, 5, 3), 4, key=key)
