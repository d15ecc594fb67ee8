"""The block of bytes that a page holds, read here as the page reads it."""

import base64
import zlib

import numpy as np
import pytest

import sad_jax as sad
from sad_jax.viewer.embedded import embed


def unpacked(embedded) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The fields [10, N], the ids of every tile, and the colours [256, 3]."""
    about = embedded.about
    block = zlib.decompress(base64.b64decode(embedded.data), wbits=-15)
    assert len(block) == about["bytes"]
    size = 40 * about["sites"]
    planes = np.frombuffer(block[:size], np.uint8).reshape(4, -1)
    fields = np.ascontiguousarray(planes.T).view("<f4").reshape(10, -1)
    numbers, value, shift = [], 0, 0
    for byte in block[size:-768]:
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    tiles = about["columns"] * about["rows"]
    ends = np.cumsum(numbers[:tiles])
    assert len(numbers) == tiles + ends[-1]
    ids = [np.cumsum(part) for part in np.split(np.asarray(numbers[tiles:]), ends[:-1])]
    return fields, ids, np.frombuffer(block[-768:], np.uint8).reshape(256, 3)


@pytest.mark.parametrize(("shape", "n", "channels"), [((37, 53), 300, 3), ((5, 1), 1, 1)])
def test_tiles_hold_the_exact_list_of_every_point(make_sites, reference, shape, n, channels):
    sites = make_sites(n, channels, shape)
    embedded = embed(sites, sad.Canvas(shape, k=5))
    fields, ids, colors = unpacked(embedded)
    about = embedded.about
    assert (about["k"], about["sites"]) == (min(5, n), n)
    color = np.repeat(sites.color, 3, 1) if channels == 1 else sites.color
    expected = [sites.position, sites.log_tau, sites.radius, color, sites.direction]
    np.testing.assert_array_equal(fields.T, np.column_stack([*expected, sites.log_aniso]))
    assert colors[0].tolist() == [71, 1, 85]

    rng = np.random.default_rng(0)
    points = rng.uniform([-0.5, -0.5], np.asarray(shape[::-1]) - 0.5, (400, 2))
    scores = reference.scores(sites, points, max(shape))
    best = np.argsort(scores, axis=1, kind="stable")[:, : about["k"]]
    column, row = (points + 0.5).astype(int).T // about["side"]
    for tile, wanted in zip(row * about["columns"] + column, best, strict=True):
        assert set(wanted) <= set(ids[tile])
        assert (np.diff(ids[tile]) > 0).all()
    assert np.mean([len(tile) for tile in ids]) < max(2, n / 4), "tiles rule sites out"
