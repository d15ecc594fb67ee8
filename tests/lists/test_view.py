"""Lists of another size, by every engine; the picture of it is tested in ``draw/test_api.py``."""

from functools import partial

import jax
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.backend import XLA
from sad_jax.lists.view import View, find_in_view
from sad_jax.model.score import score, site_rows, stretched


@pytest.mark.parametrize("scales", [(1.0, 1.0), (2.5, 2.5), (0.3, 4.0), (1.001, 1.0)])
def test_scores_stay_on_a_stretched_canvas(make_sites, reference, scales):
    """Those of round sites, too, whose axes a stretch gives a direction."""
    sites = make_sites(20)
    sites = sites.replace(log_aniso=np.where(np.arange(20) % 4, sites.log_aniso, 0))
    points = np.random.default_rng(0).uniform(0, 12, (30, 2))
    x, y = ((points + 0.5) * scales - 0.5).T.astype(np.float32)
    found = score(stretched(site_rows(sites, 16), *scales), x[:, None], y[:, None])
    expected = reference.scores(sites, points, 16)
    assert (abs(found - expected) <= 4 * reference.rounding(sites, points, 16) + 1e-3).all()


@pytest.mark.slow
def test_engines_find_the_same_lists_of_a_view(make_sites, engine):
    """A band in the middle of a picture that is stretched unevenly."""
    sites = make_sites(60)
    view = View.of(sad.Canvas((12, 16), k=5), (18, 40))
    find = jax.jit(partial(find_in_view, sites=sites, first=4.0), static_argnums=(0, 1))
    view = view._replace(rows=9)
    expected = find(XLA, view)
    assert expected.shape == (9, 40, 5)
    np.testing.assert_array_equal(find(engine, view), expected)
