"""A picture in a padded frame is the picture itself."""

import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model.frame import Frame

FRAMES = [  # canvas, sites, side of the padded canvas
    (sad.Canvas((13, 22), k=3, cell=2), 9, (64, 64)),
    (sad.Canvas((65, 1), k=5), 2, (128, 64)),  # fewer sites than K
]


@pytest.mark.parametrize(("own", "n", "shape"), FRAMES)
def test_padding_changes_no_pixel(make_sites, own, n, shape):
    frame, sites = Frame.of(own, padded=True), make_sites(n, shape=own.shape)
    inside = frame.enter(sites)
    assert frame.canvas == sad.Canvas(shape, k=own.k, cell=own.cell)
    assert inside.num_sites == 256
    drawn = frame.crop(sad.render(inside, frame.canvas))
    np.testing.assert_allclose(drawn, sad.render(sites, own), atol=2e-5)
    ids = frame.crop_ids(np.asarray(sad.find_candidates(inside, frame.canvas).ids))
    alone = np.asarray(sad.find_candidates(sites, own).ids)
    np.testing.assert_array_equal(ids[..., : alone.shape[-1]], alone)
    again = frame.leave(inside)
    for name, field in vars(sites).items():
        np.testing.assert_allclose(getattr(again, name), field, rtol=1e-6, err_msg=name)


def test_a_frame_of_ones_own_changes_nothing(make_sites):
    frame, sites = Frame.of(sad.Canvas((13, 22))), make_sites(9)
    assert frame.enter(sites) is frame.leave(sites) is sites
    assert frame.enter(sites, 12).num_sites == frame.slots(12) == 12


def test_there_are_few_numbers_of_slots():
    frame = Frame.of(sad.Canvas((13, 22)), padded=True)
    slots = [frame.slots(count) for count in range(1, 5000)]
    assert sorted(set(slots)) == [256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144]
    assert all(count <= found for count, found in enumerate(slots, 1))
