"""The encoder: what is free makes up for what is rounded; sizes and PSNR are kept to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.coding.encode import along_curve, check_quality, make_job, rounded
from sad_jax.coding.rate import Aim, encode_to, picture_psnr, sites_for
from sad_jax.coding.relax import EFFORT, Relaxation
from sad_jax.coding.rounding import Draft
from sad_jax.coding.steps import base_steps, cell_bits
from sad_jax.model.value_range import ValueRange
from sad_jax.storage.compact.rules import HALF_TURN, OCTAVE, PIXEL, Rules, Steps

SHAPE = (24, 36)


def test_numbers_mean_values_within_half_a_step(make_sites):
    """Of every field, against the formulas of the rules in floats."""
    sites = jax.tree.map(jnp.asarray, make_sites(60, shape=SHAPE))
    sites = sites.replace(log_aniso=jnp.abs(sites.log_aniso))
    rules = Rules(Steps(110, 120, 70, 90, 90, 170), 36, 9)
    draft = Draft(sites, rules, None)
    numbers = draft.round_all()
    found = draft.sites()
    k = np.exp(np.asarray(found.log_tau, np.float64)) / 36
    a = np.asarray(found.log_aniso, np.float64)
    unit = np.log(2) / OCTAVE
    assert np.abs(found.log_tau - sites.log_tau).max() <= 0.5 * 2 ** (110 / 16) * unit * 1.001
    assert np.abs(found.log_aniso - sites.log_aniso).max() <= 0.5 * 2 ** (120 / 16) * unit * 1.001
    levels = rules.angles(numbers["tau"] * rules.tau_step, numbers["aniso"] * rules.aniso_step)
    expected = np.maximum(2 ** (70 / 16) * k**0.2 * np.sinh(a), 1)
    assert (np.abs(np.log2(levels / expected))[expected > 20] < 0.08).all()
    theirs, ours = (np.arctan2(*np.asarray(s.direction).T[::-1]) for s in (sites, found))
    apart = np.abs((theirs - ours + np.pi / 2) % np.pi - np.pi / 2)
    assert (apart <= 0.5 * np.pi / levels + 2 * np.pi / HALF_TURN).all()
    step = 2 ** (90 / 16) / PIXEL / np.sqrt(k)
    assert (np.abs(found.radius - sites.radius) <= 0.52 * step + 0.01).all()
    away = np.abs(np.asarray(found.position) - np.asarray(sites.position))
    metric = np.exp(a)[:, None] * np.asarray(found.direction) ** 2
    metric = metric + np.exp(-a)[:, None] * (1 - np.asarray(found.direction) ** 2)
    fine, one = step / np.sqrt(metric.max(1)), metric.min(1) < 0.9 * metric.max(1)
    along = np.where(metric == metric.max(1, keepdims=True), away, 0).max(1)
    assert (along <= 0.65 * fine + 0.01)[one].all()
    light = 2 ** (170 / 16) / 2**16 * np.clip(np.asarray(found.radius), 1, 32) ** -0.8
    apart = np.linalg.norm(np.asarray(found.color) - np.asarray(sites.color), axis=1)
    assert (apart <= 0.5 * np.sqrt(3) * light + 2e-3).all()


@pytest.mark.parametrize("quality", ["best", None, True, np.nan, 61, -61.0, "6"])
def test_no_quality_is_refused(quality):
    with pytest.raises(ValueError, match="expected a quality of -60 to 60 dB or 'lossless', got"):
        check_quality(quality)


def test_wrong_arguments_end_in_one_line(make_sites, tmp_path):
    sites, photo = make_sites(9), np.zeros((12, 16, 3), np.float32)
    with pytest.raises(ValueError, match="expected a quality beside a target"):
        sad.encode(sites, (12, 16), target=photo)
    with pytest.raises(ValueError, match=r"expected a target of shape \(12, 16, 3\)"):
        sad.encode(sites, (12, 16), target=photo[:5], quality=6)
    with pytest.raises(ValueError, match=r"expected a \.sad file for a quality"):
        sad.save(tmp_path / "a.txt", sites, (12, 16), quality=6)
    with pytest.raises(ValueError, match="expected a quality of"):
        sad.save(tmp_path / "a.sad", sites, (12, 16), quality="best")
    none = sites.replace(direction=sites.direction.copy())
    none.direction[4] = 0
    with pytest.raises(ValueError, match=r"expected directions of a length .* of site 4"):
        sad.encode(none, (12, 16), quality=6)
    wide = sites.replace(radius=sites.radius.copy())
    wide.radius[2] = 5e6
    with pytest.raises(ValueError, match=r"expected sites near their canvas.* to 5e\+06 and"):
        sad.encode(wide, (12, 16), quality=6)
    assert not list(tmp_path.iterdir())


def test_colours_beyond_the_target_are_those_that_a_decoder_shows(make_sites):
    """Without a limit their numbers would be refused when they are read."""
    sites = make_sites(30, shape=SHAPE)
    rules = Rules(Steps(110, 120, 70, 90, 90, 120), 36, 9)
    wild = sites.replace(color=sites.color * 1e6 - 4e5)
    found = along_curve(Draft(wild, rules, None).round_all(), rules, ValueRange()).sites()["color"]
    clipped = np.clip(wild.color, 0, 1)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(clipped, axis=0), atol=2e-3)


def test_sites_for_bytes_rise_with_them():
    counts = [sites_for(size) for size in (1, 90, 1000, 10_000)]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert 1500 < counts[-1] < 2500


def test_a_time_budget_is_shared_by_the_fit_and_the_encoding():
    assert Aim("lossless").fit_share == 1
    assert (
        0.5 < Aim(most_bytes=10).fit_share == Aim(least_psnr=30.0).fit_share < Aim().fit_share < 1
    )


def test_a_cell_is_about_half_of_the_distance_of_sites():
    for num_sites in (1, 9, 100, 864):
        side = 2.0 ** cell_bits(sad.Canvas(SHAPE), num_sites) / PIXEL
        apart = (SHAPE[0] * SHAPE[1] / num_sites) ** 0.5
        assert 0.25 < side / apart < 0.75


@pytest.fixture(scope="module")
def job():
    """A fitted picture, of which the sites are then rounded."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    disc = 1 / (1 + np.exp(np.hypot(x - 20, y - 9) - 6))
    photo = np.stack([disc, 0.3 + 0.5 * x / 36, 1 - 0.8 * disc * y / 24], -1).astype(np.float32)
    config = sad.FitConfig(num_sites=40, steps=40, quality="lossless")
    result = sad.fit(photo, config, key=jax.random.key(0))
    return make_job(result.sites, result.canvas, photo, None)


def psnr_of(job, data: bytes) -> float:
    return picture_psnr(job, sad.decode(data)[0])


@pytest.mark.slow
def test_making_up_for_rounding_halves_the_loss_at_least(job):
    float_psnr = picture_psnr(job, job.sites)
    plain, full = (rounded(job, 6.0, effort) for effort in (None, EFFORT))
    losses = []
    for found in (plain, full):
        sites = sad.Sites(**jax.device_put(found.sites()))
        losses.append(float_psnr - picture_psnr(job, sites))
    assert losses[1] < 0.5 * losses[0]
    assert abs(plain.count_bytes() / full.count_bytes() - 1) < 0.05


@pytest.mark.slow
def test_what_is_rounded_stays_and_what_is_free_moves(job):
    relaxation = Relaxation(job.target, job.frame)
    free = np.ones((9, 40), bool)
    free[2], free[0, ::2], free[6:, :7] = False, False, False
    moved = relaxation.move(job.sites, free)
    before, after = (
        np.concatenate([s.position.T, s.log_tau[None], s.color.T]) for s in (job.sites, moved)
    )
    rows = free[[0, 1, 2, 6, 7, 8]]
    np.testing.assert_array_equal(before[~rows], after[~rows])
    assert (before != after)[rows].mean() > 0.8


@pytest.mark.slow
def test_a_better_quality_is_a_larger_file_and_a_better_picture(job):
    files = [encode_to(job, Aim(quality)) for quality in (0.0, 8.0, 16.0)]
    assert [len(file) for file in files] == sorted(len(file) for file in files)
    scores = [psnr_of(job, file) for file in files]
    assert scores == sorted(scores)
    lists = Relaxation(job.target, job.frame).find_lists(job.sites)
    steps = [base_steps(job.sites, lists, job.target, q) for q in (0.0, 12.04)]
    for name in ("tau", "aniso", "place", "radius", "color"):  # two bits: 32 sixteenths
        assert abs(getattr(steps[0], name) - getattr(steps[1], name) - 32) <= 1


@pytest.mark.slow
def test_bytes_and_psnr_are_kept_to(job):
    data = encode_to(job, Aim(most_bytes=330))
    assert 300 < len(data) <= 330
    with pytest.raises(ValueError, match=r"expected at least \d+ bytes for 40 sites, got 60"):
        encode_to(job, Aim(most_bytes=60))
    float_psnr = picture_psnr(job, job.sites)
    data = encode_to(job, Aim(least_psnr=float_psnr - 1))
    assert float_psnr - 1 <= psnr_of(job, data) < float_psnr - 0.2
    with pytest.warns(UserWarning, match="expected a PSNR below"):
        encode_to(job, Aim(least_psnr=float_psnr + 1))
