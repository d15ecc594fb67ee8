"""Recipe fast: fits of small smooth pictures."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.fitting.clock import Clock
from sad_jax.fitting.fast import FastFit
from sad_jax.fitting.photo import Photo
from sad_jax.fitting.task import make_task
from sad_jax.metrics import psnr
from sad_jax.storage.sad import decode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fast")]  # one fit for all tests

SHAPE = (24, 32)
CONFIG = sad.FitConfig(num_sites=50, initial_sites=110, steps=40)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A disc on a ramp, smooth at its border."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    disc = 1 / (1 + np.exp((np.hypot(x - 18, y - 10) - 7) / 2))
    ramp = x / SHAPE[1]
    return np.stack([disc, 0.3 + 0.5 * ramp, 1 - 0.8 * disc * ramp], -1).astype(np.float32)


@pytest.fixture(scope="module")
def first(photo, compiled):
    """The fit that the others are compared with, and what it compiled of all that it needs."""
    jax.clear_caches()
    return sad.fit(photo, CONFIG, key=KEY), dict(compiled)


def test_the_budget_is_met_and_the_figures_are_those_of_the_file(first, photo):
    result = first[0]
    assert result.sites.num_sites == 50
    sites, canvas = decode(result.data)
    assert canvas == result.canvas == sad.Canvas(SHAPE)
    for a, b in zip(jax.tree.leaves(sites), jax.tree.leaves(result.sites), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    picture = np.asarray(sad.render(*decode(result.data)))
    assert result.psnr == pytest.approx(psnr(picture, photo), abs=1e-6)
    assert result.psnr > 28
    assert result.steps == 40
    assert not result.interrupted


def test_the_picture_of_the_loop_is_that_of_the_sites_before_rounding(first):
    assert first[0].loop_psnr == pytest.approx(first[0].float_psnr, abs=1e-3)
    assert first[0].psnr > first[0].float_psnr - 1


def test_the_best_state_seen_is_what_a_fit_returns(photo):
    """Here the last sites are spoilt, so that they show the picture upside down."""
    states = []
    whole = sad.fit(photo, CONFIG, key=KEY, progress=lambda now: states.append(now.state))
    seen = [np.inf, *(float(state.best.loss) for state in states if state.sites.num_sites == 50)]
    assert (np.diff(seen[1:]) <= 0).all()
    assert seen[-1] < np.inf
    last, task = states[-1], make_task(Photo(photo), CONFIG)
    position = [0, SHAPE[0] - 1] + np.asarray([1, -1]) * np.asarray(last.sites.position)
    spoilt = last.replace(sites=last.sites.replace(position=jnp.asarray(position, jnp.float32)))
    sites, mse = FastFit(CONFIG.constants).finish(task, spoilt)
    assert mse <= last.best.loss
    np.testing.assert_array_equal(sites.position, last.best.sites.position)
    assert -10 * np.log10(mse) > whole.float_psnr - 1


def test_one_bright_pixel_is_kept():
    """Steps that go too far lose it: to a black picture, of 21.6 dB."""
    image = np.zeros((12, 12, 3), np.float32)
    image[5, 7] = 1
    result = sad.fit(image, sad.FitConfig(num_sites=10), key=KEY)
    assert result.sites.num_sites <= 10
    assert result.psnr > 50


def test_sites_are_thinned_in_stages_to_the_budget(first):
    sites = first[0].history["sites"]
    assert first[0].history["step"] == [*range(3, 40, 3), 40]
    assert sites[0] == 110 > sites[1] > sites[2] > 50
    assert sites[3:] == [50] * 11  # from a fifth of the steps on


def test_lists_are_shorter_in_the_first_half(photo):
    lists = []
    record = lambda now: lists.append((now.state.lists.canvas.k, now.state.sites.num_sites))  # noqa: E731
    sad.fit(photo, CONFIG, key=KEY, progress=record)
    assert lists == [(4, 110)] * 7 + [(8, 50)] * 7


def test_borders_start_soft_and_sharpen(first, photo):
    sharpest = []
    record = lambda now: sharpest.append(np.exp(now.state.sites.log_tau.max()) / 32)  # noqa: E731
    assert sad.fit(photo, CONFIG, key=KEY, progress=record).data == first[0].data
    softest = 2 / np.sqrt(24 * 32 / 50)
    done = np.asarray([0, *first[0].history["step"][:-1]]) / 40
    allowed = softest * (20 / softest) ** np.minimum(done / 0.65, 1)
    assert (sharpest <= allowed * 1.001).all()
    assert sharpest[0] == pytest.approx(softest, rel=1e-3)
    assert sharpest[-1] > 1.5 * softest


def test_steps_are_traced_once_for_each_kind(first):
    compiled = first[1]
    assert compiled["jit(_gauss_newton)"] == 2  # with shorter and with whole lists; and to encode
    assert compiled["jit(_sums)"] == 2
    assert compiled["jit(solve_colors)"] == 1


def test_the_same_key_gives_the_same_bytes_and_compiles_nothing(first, photo, compiled):
    before = compiled.total()
    assert sad.fit(photo, CONFIG, key=KEY).data == first[0].data
    assert compiled.total() == before
    names = [f"jit({name})" for name in ("_gauss_newton", "_search", "_sums", "solve_colors")]
    counts = [compiled[name] for name in names]
    other = sad.fit(photo[::-1].copy(), CONFIG, key=jax.random.key(1))
    assert [compiled[name] for name in names] == counts
    assert min(counts) > 0
    assert other.data != first[0].data


def test_pixels_outside_of_the_mask_do_not_matter(photo):
    mask = np.zeros(SHAPE)
    mask[3:20, 4:28] = 1
    other = np.where(mask[..., None] > 0, photo, 1 - photo[::-1, ::-1])
    a, b = (sad.fit(image, CONFIG, key=KEY, mask=mask) for image in (photo, other))
    assert a.data == b.data
    assert a.sites.num_sites == 50
    picture = np.asarray(sad.render(*decode(a.data)))
    assert psnr(picture[3:20, 4:28], photo[3:20, 4:28]) > 25


@pytest.mark.parametrize("stop", [6, 15, 36])
def test_an_interrupted_fit_goes_on_to_the_very_same_bytes(first, photo, tmp_path, stop):
    def press(progress) -> None:
        if progress.step >= stop:
            raise KeyboardInterrupt

    path = tmp_path / "state"
    cut = sad.fit(photo, CONFIG, key=KEY, progress=press, checkpoint=path)
    assert cut.interrupted
    assert cut.steps == stop
    assert cut.sites.num_sites == 50
    assert path.exists()
    whole = sad.fit(photo, CONFIG, key=KEY, checkpoint=path, resume=True)
    assert whole.data == first[0].data
    assert whole.history["sites"] == first[0].history["sites"]
    again = sad.fit(photo, CONFIG, key=KEY, checkpoint=path, resume=True, progress=press)
    assert again.data == whole.data  # at once, as the fit was done


def test_a_time_budget_ends_the_fit_early_within_the_budget_of_sites(photo):
    config = sad.FitConfig(num_sites=50, initial_sites=110, steps=40, seconds=1e-6)
    result = sad.fit(photo, config, key=KEY)
    assert result.steps < 40
    assert result.sites.num_sites == 50
    assert not result.interrupted


def test_a_time_budget_alone_sets_the_number_of_steps(photo, monkeypatch):
    """By a clock on which every look takes a second, and a recipe of fewer steps."""
    looks = itertools.count(1)
    monkeypatch.setattr(Clock, "seconds", property(lambda clock: float(next(looks))))
    recipe, canvases = sad.FastRecipe(steps=9), []
    config = sad.FitConfig(num_sites=50, initial_sites=110, recipe=recipe, seconds=120.0)
    record = lambda now: canvases.append((now.steps, now.state.lists.canvas.k))  # noqa: E731
    result = sad.fit(photo, config, key=KEY, progress=record)
    assert result.steps > 60
    assert canvases[-1] == (result.steps, 8)
    assert {k for _, k in canvases} == {4, 8}
    assert result.history["sites"][-1] == 50
    assert 90 < result.seconds < 130  # a part was left for the file


@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_a_robust_loss_sees_past_outliers(photo, loss):
    """A tenth of the pixels are noise; the picture under them is closer than by least squares."""
    rng = np.random.default_rng(0)
    wrong = rng.uniform(size=(*SHAPE, 1)) < 0.1
    noisy = np.where(wrong, rng.uniform(size=photo.shape), photo).astype(np.float32)
    least = sad.fit(noisy, CONFIG, key=KEY)
    robust = sad.fit(noisy, dataclasses.replace(CONFIG, loss=loss), key=KEY)
    found, other = (psnr(np.asarray(sad.render(*decode(r.data))), photo) for r in (robust, least))
    assert found > other + 3


@pytest.mark.parametrize(
    ("shape", "n", "initial", "k"), [((1, 1), 1, 1, 8), ((1, 12, 4), 5, 5, 2), ((5, 4, 7), 3, 9, 4)]
)
def test_any_picture_can_be_fitted(shape, n, initial, k):
    """Gray and many channels, one pixel, one row, fewer sites than a list holds."""
    image = np.linspace(0.2, 0.8, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    config = sad.FitConfig(num_sites=n, initial_sites=initial, steps=1, k=k)
    result = sad.fit(image, config, key=KEY)
    assert result.sites.num_sites == n
    assert result.sites.channels == (shape[2] if len(shape) == 3 else 1)
    assert result.canvas == sad.Canvas(shape[:2], k=k)
    assert result.psnr > 12
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.sites))
