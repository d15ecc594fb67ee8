"""Random access: parts of a file show what the whole shows, and only they are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.coding import boxes as boxes_module
from sad_jax.coding import reader
from sad_jax.coding.boxes import influence
from sad_jax.coding.encode import Job, along_curve, file_of
from sad_jax.coding.rounding import Draft
from sad_jax.draw import bands
from sad_jax.model.frame import Frame
from sad_jax.model.value_range import ValueRange
from sad_jax.optimize.least_squares import make_target
from sad_jax.storage.compact.layout import box_unit
from sad_jax.storage.compact.rules import Rules, Steps

SHAPE = (90, 150)
CANVAS = sad.Canvas(SHAPE, k=5, cell=2)


@pytest.fixture(scope="module")
def job(make_sites) -> Job:
    """Sites that are seen only nearby."""
    sites = jax.tree.map(jnp.asarray, make_sites(1500, shape=SHAPE))
    sites = sites.replace(log_tau=6 + 0.1 * sites.log_tau, radius=1 + 0.1 * sites.radius)
    target = make_target(CANVAS.grid, jnp.zeros((*SHAPE, 3)))
    return Job(sites, CANVAS, target, ValueRange(), known=False, frame=Frame.of(CANVAS))


@pytest.fixture(scope="module")
def path(job, tmp_path_factory):
    rules = Rules(Steps(100, 120, 70, 80, 80, 180), CANVAS.size, 8)
    numbers = Draft(job.sites, rules, None).round_all()
    path = tmp_path_factory.mktemp("files") / "a.sad"
    path.write_bytes(file_of(job, along_curve(numbers, rules, ValueRange())))
    return path


@pytest.fixture(scope="module")
def whole(path) -> np.ndarray:
    return np.asarray(sad.render(*sad.load(path)))


def test_a_whole_picture_is_that_of_load(path, whole):
    file = sad.open(path)
    assert file.canvas == CANVAS
    assert (file.num_sites, file.channels, file.level) == (1500, 3, 0)
    assert file.bytes_read < 200
    np.testing.assert_array_equal(file.render(), whole)
    assert file.bytes_read == path.stat().st_size


@pytest.mark.parametrize("window", [(0, 0, 5, 4), (31, 17, 40, 20), (149, 89, 1, 1)])
def test_a_window_shows_what_the_whole_shows_there(path, whole, window):
    x, y, width, height = window
    file = sad.open(path)
    np.testing.assert_array_equal(file.render(window), whole[y : y + height, x : x + width])
    assert file.bytes_read < path.stat().st_size


def test_points_have_the_colours_of_a_full_decode(path):
    """Each by its own exact list, between pixels too, whatever has been read for it."""
    sites, canvas = sad.load(path)
    points = np.random.default_rng(0).uniform([-0.5, -0.5], [149.5, 89.5], (64, 2))
    points = points.astype(np.float32)
    points[:6] = [[np.nan, 3], [1e30, -1e30], [-9, 95], [-0.5, 89.5], [63.5, 20], [63.49999, 20]]
    expected = np.asarray(sad.query(sites, canvas, points))
    reads = []
    for start, stop in ((0, 64), (4, 6)):  # the whole picture, two tiles
        file = sad.open(path)
        found = file.query(points[start:stop])
        np.testing.assert_allclose(found, expected[start:stop], rtol=1e-6, atol=1e-6)
        reads.append(file.bytes_read)
    assert reads[0] == path.stat().st_size
    assert sad.open(path).query(np.zeros((0, 2))).shape == (0, 3)


def test_bands_are_the_picture_and_read_what_they_need(path, monkeypatch):
    whole, file = np.asarray(sad.render(*sad.load(path))), sad.open(path)
    monkeypatch.setattr(bands, "BAND", 64 * SHAPE[1])
    found = file.bands()
    first = next(found)
    assert first.shape == (64, SHAPE[1], 3)
    rest = list(found)
    np.testing.assert_allclose(np.concatenate([first, *rest]), whole, atol=1e-6)
    part = np.concatenate(list(file.bands((3, 5, 9, 40))))
    np.testing.assert_allclose(part, whole[5:45, 3:12], atol=1e-6)
    with pytest.raises(ValueError, match="expected a window"):
        file.bands((0, 0, 0, 1))


def test_a_whole_file_is_checked_a_piece_at_a_time(path, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "PIECE", 1000)
    sad.open(path).check()
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    (tmp_path / "b.sad").write_bytes(data)
    with pytest.raises(ValueError, match="expected the checksum"):
        sad.open(tmp_path / "b.sad").check()


def test_boxes_hold_all_that_groups_show(path, monkeypatch):
    monkeypatch.setattr(boxes_module, "ENTRIES", 1000)  # many bands
    sites, canvas = sad.load(path)
    lists = sad.find_candidates(sites, canvas)
    order = sad.open(path)._payload.head.order
    boxes, unit = influence(order, sites, canvas, np.asarray(lists.ids)), box_unit(canvas.size)
    ids = np.repeat(np.repeat(np.asarray(lists.ids), 2, 0), 2, 1)[: SHAPE[0], : SHAPE[1]]
    for group in range(order.groups):
        shown = ((ids // 256 == group) & (ids % 16 != 0)).any(-1)
        rows, columns = np.nonzero(shown.any(1))[0], np.nonzero(shown.any(0))[0]
        if not len(rows):
            assert boxes[group, 0] > boxes[group, 1]
            continue
        left, right, top, bottom = boxes[group] * unit
        assert left <= columns[0] <= columns[-1] < right + unit
        assert top <= rows[0] <= rows[-1] < bottom + unit


def test_boxes_hold_all_that_groups_show_at_points(path, reference):
    """Against every score of every site, in float64; and they are no larger than need be."""
    file = sad.open(path)
    sites, boxes = file.sites(), file._payload.index.boxes
    points = np.random.default_rng(2).uniform([-0.5, -0.5], [149.5, 89.5], (4000, 2))
    ids = np.argsort(reference.scores(sites, points, 150), axis=1)[:, : CANVAS.k]
    part = np.floor(points + 0.5).astype(int).T[..., None] // box_unit(150)
    group, own = ids // 256, ids % 16 != 0
    inside = True
    for axis in (0, 1):
        low, high = boxes[group, 2 * axis], boxes[group, 2 * axis + 1]
        inside &= (low <= part[axis]) & (part[axis] <= high)
        for edge, found in ((0, np.minimum), (1, np.maximum)):
            seen = np.full(len(boxes), (149, 0)[edge])
            found.at(seen, group[own], np.broadcast_to(part[axis], ids.shape)[own])
            assert abs(boxes[:, 2 * axis + edge] - seen).max() < 15
    assert inside[own].all()


@pytest.mark.parametrize("level", [1, 4, 6, 11, 12, 31])
def test_levels_have_every_so_many_sites(path, level):
    file = sad.open(path, level=level)
    whole = sad.load(path)[0]
    np.testing.assert_array_equal(file.sites().color, whole.color[:: 2**level])
    assert file.sites().num_sites == -(-1500 // 2**level)
    if level >= 4:
        assert file.bytes_read < path.stat().st_size / 8


def test_damage_of_a_group_is_told_where_it_is_read(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    damaged = tmp_path / "b.sad"
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match="expected the checksum"):
        sad.load(damaged)
    with pytest.raises(ValueError, match="damaged"):
        sad.open(damaged).sites()


def test_lossless_files_are_opened_too(make_sites, tmp_path):
    sites = make_sites(20)
    sad.save(tmp_path / "a.sad", sites, (12, 16))
    file = sad.open(tmp_path / "a.sad")
    expected = np.asarray(sad.render(sites, (12, 16)))
    np.testing.assert_array_equal(file.render((3, 2, 9, 8)), expected[2:10, 3:12])
    assert sad.open(tmp_path / "a.sad", level=2).sites().num_sites == 5


def test_wrong_arguments_end_in_one_line(path, tmp_path):
    file = sad.open(path)
    for window in ((0, 0, 151, 1), (-1, 0, 2, 2), (0, 0, 0, 1), (1, 2, 3), "abcd"):
        with pytest.raises(ValueError, match="expected a window"):
            file.render(window)
    with pytest.raises(ValueError, match="expected points"):
        file.query([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="expected a level of 0 to 31, got -1"):
        sad.open(path, level=-1)
    with pytest.raises(ValueError, match=r"expected a \.sad file to open"):
        sad.open(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        sad.open(tmp_path / "none.sad")
    with pytest.raises(ValueError, match="expected at most 100 pixels"):
        sad.open(path, max_pixels=100)


@pytest.mark.parametrize(("channels", "quality"), [(5, 8), (31, 8), (31, "lossless")])
def test_cubes_are_stored_and_read_in_part(make_sites, tmp_path, channels, quality):
    sites = make_sites(40, channels=channels)
    sad.save(tmp_path / "a.sad", sites, (12, 16), quality=quality)
    stored, canvas = sad.load(tmp_path / "a.sad")
    assert stored.color.shape == (40, channels)
    expected = np.asarray(sad.render(stored, canvas))
    file = sad.open(tmp_path / "a.sad")
    np.testing.assert_allclose(file.render((3, 2, 9, 8)), expected[2:10, 3:12], atol=1e-6)
    np.testing.assert_allclose(file.query([[4.0, 7.0]])[0], expected[7, 4], atol=1e-6)
    sad.write_image(tmp_path / "a.tif", expected)
    np.testing.assert_array_equal(sad.read_image(tmp_path / "a.tif"), expected)
    if quality == "lossless":
        np.testing.assert_array_equal(stored.color, sites.color)
    else:  # rounded, at 40 dB and better
        assert np.abs(np.sort(stored.color, 0) - np.sort(sites.color, 0)).max() < 0.05
