"""Fits of small pictures: budgets, keys, masks, interruption, and figures that are the file's."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.fitting import checkpoint
from sad_jax.fitting.paper import PaperFit
from sad_jax.fitting.photo import Photo
from sad_jax.fitting.task import make_task
from sad_jax.metrics import psnr
from sad_jax.storage.sad import decode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("driver")]  # one fit for all tests

SHAPE = (16, 21)
CONFIG = sad.FitConfig.paper(num_sites=24, initial_sites=40, steps=200)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A disc on a ramp, smooth at its border."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    disc = 1 / (1 + np.exp(np.hypot(x - 12, y - 7) - 5))
    ramp = x / SHAPE[1]
    return np.stack([disc, 0.3 + 0.5 * ramp, 1 - 0.8 * disc * ramp], -1).astype(np.float32)


@pytest.fixture(scope="module")
def first(photo, compiled):
    """The fit that the others are compared with, and what its progress reported."""
    reports = []
    result = sad.fit(photo, CONFIG, key=KEY, progress=reports.append)
    return result, reports, dict(compiled)


def test_the_picture_is_reached_within_the_budget(first, photo):
    result = first[0]
    assert 22 <= result.sites.num_sites <= 24
    assert result.psnr > 25
    assert result.steps == 200
    assert result.canvas == sad.Canvas(SHAPE)
    assert not result.interrupted
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.sites))


def test_sites_of_the_result_are_those_of_its_file(first):
    result = first[0]
    sites, canvas = decode(result.data)
    assert canvas == result.canvas
    for a, b in zip(jax.tree.leaves(sites), jax.tree.leaves(result.sites), strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_are_traced_once_though_sites_come_and_go(first):
    result, _, compiled = first
    assert len(set(result.history["sites"])) > 3
    for name in ("run_adam", "_sums", "offer_at_home"):
        assert compiled[f"jit({name})"] == 1, compiled


def test_progress_and_history_tell_the_same_story(first):
    result, reports, _ = first
    assert [r.step for r in reports] == result.history["step"]
    assert [r.psnr for r in reports] == result.history["psnr"]
    assert [r.num_sites for r in reports] == result.history["sites"]
    assert [r.seconds for r in reports] == result.history["seconds"]
    assert (np.diff(result.history["step"]) > 0).all()
    assert (np.diff(result.history["seconds"]) > 0).all()
    assert reports[-1].step == reports[-1].steps == 200
    assert result.loop_psnr == result.history["psnr"][-1] > result.history["psnr"][0]
    assert reports[-1].image().shape == (*SHAPE, 3)
    assert result.seconds > 0
    assert result.compile_seconds > 0


def test_the_same_key_gives_the_same_bytes_and_compiles_nothing(first, photo, compiled):
    before = compiled.total()
    assert sad.fit(photo, CONFIG, key=KEY).data == first[0].data
    assert compiled.total() == before


def test_another_key_gives_other_bytes(first, photo):
    assert sad.fit(photo, CONFIG, key=jax.random.key(1)).data != first[0].data


def test_psnr_is_that_of_the_file_decoded_in_a_fresh_process(first, photo, tmp_path):
    (tmp_path / "a.sad").write_bytes(first[0].data)
    np.save(tmp_path / "photo.npy", photo)
    program = (
        "import numpy as np, sad_jax as sad, sys\n"
        "picture = np.asarray(sad.render(*sad.load(sys.argv[1] + '/a.sad')), np.float64)\n"
        "photo = np.load(sys.argv[1] + '/photo.npy')\n"
        "print(-10 * np.log10(np.mean((picture - photo) ** 2)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert abs(float(found) - first[0].psnr) < 1e-4


def test_pixels_outside_of_the_mask_do_not_matter(photo):
    mask = np.zeros(SHAPE)
    mask[3:12, 4:18] = 1
    other = np.where(mask[..., None] > 0, photo, 1 - photo[::-1, ::-1])
    a, b = (sad.fit(image, CONFIG, key=KEY, mask=mask) for image in (photo, other))
    assert a.data == b.data
    picture = np.asarray(sad.render(*decode(a.data)))
    assert psnr(picture[3:12, 4:18], photo[3:12, 4:18]) > 25


def test_a_mask_of_ones_changes_nothing(first, photo):
    assert sad.fit(photo, CONFIG, key=KEY, mask=np.ones(SHAPE)).data == first[0].data


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 2), (0, 1e4), (-3e4, -2e4)])
def test_a_picture_of_any_range_is_fitted_in_its_own(first, photo, low, high):
    image = (low + (high - low) * photo).astype(np.float32)
    expected = min(0, image.min()), max(1, image.max())
    result = sad.fit(image, CONFIG, key=KEY)
    assert result.value_range == pytest.approx(expected)
    drawn = np.asarray(sad.render(*decode(result.data)))
    rounding = 1e-6 * (expected[1] - expected[0])
    assert expected[0] - rounding <= drawn.min() <= drawn.max() <= expected[1] + rounding
    mse = np.mean((drawn.astype(np.float64) - image) ** 2)
    width = expected[1] - expected[0]
    assert result.psnr == pytest.approx(10 * np.log10(width**2 / mse), abs=1e-3)
    assert 10 * np.log10((high - low) ** 2 / mse) > first[0].psnr - 3


@pytest.mark.parametrize("value", [-0.5, 0.25, 7e3])
def test_a_constant_picture_has_hardly_an_error(value):
    image = np.full((*SHAPE, 3), value, np.float32)
    result = sad.fit(image, CONFIG, key=KEY)
    assert result.value_range == (min(0, value), max(1, value))
    allowed = 2e-3 * (max(1, value) - min(0, value))
    np.testing.assert_allclose(sad.render(*decode(result.data)), image, atol=allowed)


def test_the_best_state_seen_on_exact_lists_is_what_a_fit_returns(photo):
    """Here the last sites are spoilt, so that they show the picture upside down."""
    config = dataclasses.replace(CONFIG, recipe=sad.PaperRecipe(exact_every=20))
    states = []
    sad.fit(photo, config, key=KEY, progress=lambda now: states.append(now.state))
    losses = [float(state.best.loss) for state in states]
    assert np.isinf(losses[:8]).all()  # to step 160; sites have come and gone up to 150
    assert losses[8] >= losses[9]
    last, task = states[-1], make_task(Photo(photo), config)
    position = [0, SHAPE[0] - 1] + np.asarray([1, -1]) * np.asarray(last.sites.position)
    spoilt = last.replace(sites=last.sites.replace(position=jnp.asarray(position, jnp.float32)))
    sites, _ = PaperFit(config.constants).finish(task, spoilt)
    for a, b in zip(
        jax.tree.leaves(sites), jax.tree.leaves(last.best.sites.compact()), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((3, 4)), r"expected a mask of the image's \(H, W\) \(16, 21\), got \(3, 4\)"),
        (np.zeros(SHAPE), "not all 0"),
        (-np.ones(SHAPE), "at least 0"),
        (np.full(SHAPE, np.nan), "finite"),
    ],
)
def test_masks_that_do_not_fit_are_refused(photo, mask, message):
    with pytest.raises(ValueError, match=message):
        sad.fit(photo, CONFIG, key=KEY, mask=mask)


class StopAt:
    """A progress callback that presses Ctrl-C after so many steps."""

    def __init__(self, step: int):
        self.step = step

    def __call__(self, progress) -> None:
        if progress.step >= self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [20, 60, 180])
def test_an_interrupted_fit_goes_on_to_the_very_same_bytes(first, photo, tmp_path, stop):
    path = tmp_path / "state"
    cut = sad.fit(photo, CONFIG, key=KEY, progress=StopAt(stop), checkpoint=path)
    assert cut.interrupted
    assert cut.steps == stop
    assert 0 < cut.sites.num_sites <= 24
    assert decode(cut.data)[1] == sad.Canvas(SHAPE)
    assert path.exists()
    whole = sad.fit(photo, CONFIG, key=KEY, checkpoint=path, resume=True)
    assert whole.data == first[0].data
    assert not whole.interrupted
    assert whole.history["step"] == first[0].history["step"]
    assert whole.history["psnr"] == first[0].history["psnr"]


def test_an_interrupted_fit_without_a_checkpoint_still_has_a_result(photo):
    cut = sad.fit(photo, CONFIG, key=KEY, progress=StopAt(1))
    assert cut.interrupted
    assert cut.sites.num_sites <= 24


def test_a_finished_fit_is_there_until_the_checkpoint_is_removed(first, photo, tmp_path):
    """So that a result which could not be stored, as on a full disk, is not lost."""
    path, seen = tmp_path / "state", []
    see = lambda _: seen.append(path.exists())  # noqa: E731
    options = {"checkpoint": path, "checkpoint_seconds": 0}
    sad.fit(photo, CONFIG, key=KEY, **options, progress=see)
    assert seen == [False, *[True] * (len(seen) - 1)]
    again = sad.fit(photo, CONFIG, key=KEY, **options, resume=True, progress=StopAt(0))
    assert again.data == first[0].data
    assert again.history["psnr"] == first[0].history["psnr"]
    assert not again.interrupted


@pytest.mark.parametrize("stop", [60, 1000])
def test_a_fit_outlives_a_full_disk(first, photo, tmp_path, monkeypatch, stop):
    """It warns once, goes on, and ends with its result, also after Ctrl-C."""

    def fail(path, _):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_bytes", fail)
    with pytest.warns(UserWarning, match="expected to write a checkpoint, got .*state'") as told:
        result = sad.fit(
            photo,
            CONFIG,
            key=KEY,
            checkpoint=tmp_path / "state",
            checkpoint_seconds=0,
            progress=StopAt(stop),
        )
    assert len(told) == 1
    assert result.interrupted == (stop == 60)
    assert result.interrupted or result.data == first[0].data


def test_without_a_state_to_resume_the_fit_begins_afresh(first, photo, tmp_path):
    result = sad.fit(photo, CONFIG, key=KEY, checkpoint=tmp_path / "none", resume=True)
    assert result.data == first[0].data


def test_resuming_needs_the_name_of_a_checkpoint(photo):
    with pytest.raises(ValueError, match="expected a checkpoint to resume, got none"):
        sad.fit(photo, CONFIG, key=KEY, resume=True)


@pytest.mark.parametrize("change", ["picture", "settings", "mask", "seed"])
def test_a_checkpoint_of_another_fit_is_refused(photo, tmp_path, change):
    path = tmp_path / "state"
    sad.fit(photo, CONFIG, key=KEY, progress=StopAt(1), checkpoint=path)
    image = 1 - photo if change == "picture" else photo
    config = sad.FitConfig.paper(num_sites=23) if change == "settings" else CONFIG
    key = jax.random.key(1) if change == "seed" else KEY
    mask = np.ones(SHAPE) if change == "mask" else None
    with pytest.raises(ValueError, match=f"expected a checkpoint of the same {change}, got"):
        sad.fit(image, config, key=key, mask=mask, checkpoint=path, resume=True)
    assert path.exists()


def test_a_file_that_is_no_checkpoint_is_refused(photo, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected a checkpoint of a fit, got"):
        sad.fit(photo, CONFIG, key=KEY, checkpoint=path, resume=True)


def test_a_time_budget_ends_the_fit_early(first, photo):
    config = sad.FitConfig.paper(num_sites=24, initial_sites=40, steps=200, seconds=1e-6)
    result = sad.fit(photo, config, key=KEY)
    assert result.steps < 200
    assert 0 < result.sites.num_sites <= 24
    assert not result.interrupted


def test_one_pixel_of_seven_channels_can_be_fitted():
    """Other odd pictures are in ``test_fast.py``."""
    image = np.linspace(0.2, 0.8, 7, dtype=np.float32).reshape(1, 1, 7)
    config = sad.FitConfig.paper(num_sites=1, initial_sites=2, steps=40, k=2)
    result = sad.fit(image, config, key=KEY)
    assert result.sites.num_sites == 1
    assert result.sites.channels == 7
    assert result.canvas == sad.Canvas((1, 1), k=2)
    assert result.psnr > 15


def test_more_sites_than_pixels_are_refused(photo):
    with pytest.raises(ValueError, match="at most one site a pixel, 336 for 21x16, got 400"):
        sad.fit(photo, sad.FitConfig.paper(num_sites=400), key=KEY)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 3, 4, 5)), np.zeros((0, 4, 3)), np.full((4, 4, 3), np.nan)]
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ValueError, match="expected"):
        sad.fit(image, CONFIG, key=KEY)
