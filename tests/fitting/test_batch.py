"""Batches against separate fits, on one device and on two."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import sad_jax as sad

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("batch")]  # one fit for all tests

CONFIG = sad.FitConfig(num_sites=20, initial_sites=30, steps=10, k=3)
SHORT = sad.FitConfig(num_sites=20, initial_sites=30, steps=3, k=3)  # its first steps
KEY = jax.random.key(3)


def photos(count: int) -> np.ndarray:
    y, x = np.mgrid[:15, :18].astype(np.float32)
    waves = [np.sin(x / (3 + i)) * np.cos(y / 4 - i) for i in range(count)]
    return np.stack([0.5 + 0.4 * np.stack([w, -w, w * w], -1) for w in waves]).astype(np.float32)


@pytest.fixture(scope="module")
def heard() -> list[sad.Progress]:
    """What the caller is told."""
    return []


@pytest.fixture(scope="module")
def needed() -> dict[str, int]:
    """How often each function was compiled for the batch."""
    return {}


@pytest.fixture(scope="module")
def batch(heard, needed, compiled) -> list[sad.FitResult]:
    results = sad.fit_batch(photos(3), CONFIG, key=KEY, progress=heard.append)
    needed.update(compiled)
    return results


def test_a_batch_equals_separate_fits_of_the_same_keys(batch):
    """To rounding in the first steps; a fit enlarges it afterwards."""
    for photo, key, together in zip(photos(3), jax.random.split(KEY, 3), batch, strict=True):
        alone = sad.fit(photo, CONFIG, key=key)
        assert together.history["sites"] == alone.history["sites"]
        found, expected = together.history["psnr"], alone.history["psnr"]
        assert found[0] == pytest.approx(expected[0], abs=1e-2)
        assert found[1] == pytest.approx(expected[1], abs=0.5)
        pictures = [sad.render(r.sites, r.canvas) for r in (together, alone)]
        assert np.sqrt(np.mean((pictures[0] - pictures[1]) ** 2)) < 0.02


def test_pictures_of_any_sizes_are_fitted_as_they_are_alone():
    """One of each size, in a frame for both; the sites start where they would, and so go on."""
    first, second = photos(2)
    mixed = [first, np.tile(second, (2, 1, 1))[:21, 2:]]
    together = sad.fit_batch(mixed, CONFIG, key=KEY)
    for photo, key, found in zip(mixed, jax.random.split(KEY, 2), together, strict=True):
        alone = sad.fit(photo, CONFIG, key=key)
        assert found.canvas == alone.canvas == sad.Canvas(photo.shape[:2], k=3)
        assert found.sites.num_sites == 20
        assert found.history["sites"] == alone.history["sites"]
        np.testing.assert_allclose(found.history["psnr"], alone.history["psnr"], atol=0.1)
        np.testing.assert_allclose(found.history["psnr"][0], alone.history["psnr"][0], atol=1e-3)
        assert found.float_psnr == pytest.approx(alone.float_psnr, abs=0.2)
        image = np.asarray(sad.render(found.sites, found.canvas))
        assert found.psnr == pytest.approx(-10 * np.log10(np.mean((image - photo) ** 2)), abs=1e-3)


def test_recipe_paper_in_a_padded_batch_is_the_recipe_alone():
    """With splits after 20 and 40 steps."""
    config = sad.FitConfig.paper(num_sites=20, initial_sites=24, steps=60, k=3)
    together = sad.fit_batch(photos(2), dataclasses.replace(config, padded=True), key=KEY)
    for photo, key, found in zip(photos(2), jax.random.split(KEY, 2), together, strict=True):
        alone = sad.fit(photo, config, key=key)
        assert found.history["sites"] == alone.history["sites"]
        assert found.history["sites"][0] < found.history["sites"][1]
        np.testing.assert_allclose(found.history["psnr"], alone.history["psnr"], atol=0.02)
        assert found.float_psnr == pytest.approx(alone.float_psnr, abs=0.02)


def test_figures_are_those_of_each_file(batch):
    for photo, result in zip(photos(3), batch, strict=True):
        assert result.sites.num_sites == 20
        assert result.steps == 10
        image = np.asarray(sad.render(result.sites, result.canvas))
        assert result.psnr == pytest.approx(-10 * np.log10(np.mean((image - photo) ** 2)), abs=1e-3)
    assert len({result.data for result in batch}) == 3


def test_three_devices_share_a_batch(tmp_path, batch):
    """Three pictures on three devices come out as three on one."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np, sad_jax as sad, test_batch as here
from sad_jax.fitting.batch import batch_mesh
assert [batch_mesh(size).size for size in (1, 2, 3, 4)] == [1, 2, 3, 2]
batch = sad.fit_batch(here.photos(3), here.SHORT, key=here.KEY)
np.save({str(tmp_path / "three.npy")!r}, [r.history['psnr'][-1] for r in batch])
"""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=3"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    found = np.load(tmp_path / "three.npy")
    np.testing.assert_allclose(found, [r.history["psnr"][0] for r in batch], atol=1e-2)


def test_steps_are_compiled_once_for_each_shape(batch, needed):
    """Their arrays lie on the devices as the steps before have left them."""
    assert needed["jit(_advance)"] == 2  # with shorter and with whole lists


def test_the_caller_hears_of_every_picture(batch, heard):
    assert [(now.step, now.steps) for now in heard] == [(3, 10), (6, 10), (9, 10), (10, 10)]
    last = [r.history["psnr"][-1] for r in batch]
    np.testing.assert_allclose(heard[-1].psnr, last, rtol=1e-6)
    assert heard[-1].num_sites.tolist() == [20, 20, 20]


@pytest.mark.parametrize(
    ("images", "config", "expected"),
    [
        (np.ones((4, 5)), CONFIG, r"expected images \[B, H, W\]"),
        (np.ones((0, 4, 5)), CONFIG, r"expected images \[B, H, W\]"),
    ],
)
def test_batches_that_do_not_fit_are_refused(images, config, expected):
    with pytest.raises(ValueError, match=expected):
        sad.fit_batch(images, config, key=KEY)
