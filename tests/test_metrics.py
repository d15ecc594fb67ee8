"""PSNR and SSIM against their definitions, written with NumPy and SciPy."""

import math

import jax
import numpy as np
import pytest
import scipy.ndimage

from sad_jax.metrics import mse_to_psnr, psnr, ssim


def pair(shape, noise=0.05):
    rng = np.random.default_rng(3)
    a = scipy.ndimage.gaussian_filter(rng.random(shape), (2, 2, 0))
    return a.astype(np.float32), np.clip(a + noise * rng.normal(size=shape), 0, 1).astype(
        np.float32
    )


def ssim_of(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, in float64: an 11x11 Gaussian window of sigma 1.5, whole windows only."""
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()

    def mean(z):
        for axis in (0, 1):
            z = scipy.ndimage.convolve1d(z, window, axis=axis)
        return z[5:-5, 5:-5]

    a, b = a.astype(np.float64), b.astype(np.float64)
    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2
    covariance = mean(a * b) - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mu_a * mu_b + c1) / (mu_a**2 + mu_b**2 + c1)
    return float(np.mean(luminance * (2 * covariance + c2) / (var_a + var_b + c2)))


@pytest.mark.parametrize("shape", [(11, 11, 1), (24, 31, 3), (16, 40, 7)])
def test_against_the_definitions(shape):
    a, b = pair(shape)
    mse = np.mean((a.astype(np.float64) - b) ** 2)
    assert psnr(a, b) == pytest.approx(-10 * math.log10(mse), abs=1e-4)
    assert ssim(a, b) == pytest.approx(ssim_of(a, b), abs=1e-5)


def test_equal_pictures():
    a, _ = pair((16, 16, 3))
    assert psnr(a, a) == math.inf
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-6)


def test_smaller_than_the_window():
    a, b = pair((10, 40, 3))
    assert math.isnan(ssim(a, b))
    assert psnr(a, b) > 0


def test_mse_to_psnr_is_differentiable_and_batched():
    np.testing.assert_allclose(mse_to_psnr(np.float32([1, 0.1, 0.001])), [0, 10, 30], atol=1e-5)
    assert jax.grad(mse_to_psnr)(0.5) == pytest.approx(-20 / math.log(10), rel=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_pictures_that_do_not_fit(metric):
    for a, b in (((16, 16, 3), (16, 17, 3)), ((16, 16), (16, 16)), ((0, 16, 3), (0, 16, 3))):
        with pytest.raises(ValueError, match=r"expected .* got"):
            metric(np.zeros(a), np.zeros(b))
