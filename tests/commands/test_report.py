"""Figures as JSON can hold them."""

import numpy as np
import pytest

from sad_jax.commands.report import decibels, quality


def test_figures_that_are_no_numbers_are_null():
    """No error has no finite PSNR, and a picture smaller than the window no SSIM."""
    image = np.full((4, 5, 3), 0.5, np.float32)
    assert quality(image, image) == {"psnr": None, "ssim": None}
    assert decibels(quality(image, image)) == "no error"
    found = quality(image, image + np.float32(0.1))
    assert found["psnr"] == pytest.approx(20, abs=1e-3)
    assert decibels(found) == "20.00 dB"
