"""``progress=True`` shows a bar, a function is called, and nothing else is taken."""

from types import SimpleNamespace

import numpy as np
import pytest

import sad_jax as sad
from sad_jax.optimize.bar import in_decibels, in_loss, reporter


def at(step: int, **values) -> SimpleNamespace:
    return SimpleNamespace(step=step, steps=4, num_sites=9, **values)


def test_a_bar_is_shown_up_to_the_last_step(capsys):
    report = reporter(True, in_decibels)
    for step in (1, 3, 4):
        report(at(step, psnr=np.asarray([30.0, 31.0])))
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "30.50 dB, 9 sites" in shown


def test_a_function_is_called_and_none_is_told_nothing(capsys):
    seen: list = []
    reporter(seen.append, in_loss)(at(1, value=0.5))
    assert [now.step for now in seen] == [1]
    for quiet in (None, False):
        reporter(quiet, in_loss)(at(1, value=0.5))
    assert capsys.readouterr().err == ""
    assert in_loss(at(1, value=0.5)) == "loss 0.5, 9 sites"


def test_what_is_no_function_is_refused(make_sites):
    message = "expected progress, a function, True or None, got 'yes'"
    with pytest.raises(ValueError, match=message):
        sad.minimize(lambda image: image.mean(), make_sites(4), (3, 4), progress="yes")
