"""The published start: on edges, with the picture's colours, and the same for the same key."""

import jax
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


@pytest.mark.parametrize("shape", [(4, 5), (0, 5, 3), (4, 5, 0), (2, 4, 5, 3)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected an image \[H, W, C\], got shape"):
        sad.init_sites(np.zeros(shape, np.float32), 4, key=KEY)


def test_no_sites_are_refused():
    with pytest.raises(ValueError, match="expected at least one site, got 0"):
        sad.init_sites(noise(4, 5, 3), 0, key=KEY)
