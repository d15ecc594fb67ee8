"""Codec 1: a second decoder agrees to the last bit; damage is refused; parts are the whole's."""

import struct
import zlib
from decimal import Decimal, localcontext
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.coding.encode import along_curve
from sad_jax.model.value_range import ValueRange
from sad_jax.storage import numbers
from sad_jax.storage.compact import codec, curve, fixed, tables
from sad_jax.storage.compact.codec import pack
from sad_jax.storage.compact.order import Order
from sad_jax.storage.compact.rans import Reader, Turns, Writer
from sad_jax.storage.compact.rules import Rules, Steps
from sad_jax.storage.sad import decode, join, read_header, write_start
from tests.storage import slow_decoder

few = hypothesis.settings(max_examples=40, deadline=None)
FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
DATA = Path(__file__).parents[1] / "data"


def random_file(seed: int, num_sites: int, channels: int, shape: tuple[int, int], **head) -> bytes:
    """A file of random whole numbers, which need not be those of any picture."""
    rng = np.random.default_rng(seed)
    steps = Steps(*rng.integers([80, 80, 20, 60, 60, 120], [160, 160, 100, 150, 150, 250]))
    rules = Rules(Steps(*map(int, vars(steps).values())), max(shape), int(rng.integers(0, 14)))
    tau = rng.normal(8, 3, num_sites) * fixed.OCTAVE / rules.tau_step
    aniso = abs(rng.normal(0, 1.5, num_sites)) * fixed.OCTAVE / rules.aniso_step
    found = {"tau": tau.astype(np.int64), "aniso": aniso.astype(np.int64)}
    values = found["tau"] * rules.tau_step, found["aniso"] * rules.aniso_step
    levels = rules.angles(*values)
    found["angle"] = rng.integers(0, levels)
    levels_x, levels_y, _ = rules.places(*values, found["angle"] * fixed.HALF_TURN // levels)
    found["in_x"], found["in_y"] = rng.integers(0, levels_x), rng.integers(0, levels_y)
    found["x"], found["y"] = rng.integers(-5, 60, num_sites), rng.integers(0, 40, num_sites)
    wild = rng.random((channels + 1, num_sites)) < 0.02  # to be coded as escapes
    found["radius"] = np.where(wild[0], 2**20, rng.integers(0, 30, num_sites))
    for i in range(channels):
        narrow = rng.integers(-9, 9, num_sites)
        found[f"color{i}"] = np.where(wild[i + 1], rng.integers(-900, 900, num_sites), narrow)
    values = ValueRange(-1.5, 2.0) if seed % 2 else ValueRange()
    made = along_curve(found, rules, values)
    start = write_start(1, sad.Canvas(shape, k=5, cell=2), channels, num_sites)
    boxes = rng.integers(0, 256, (made.head.order.groups, 4))
    return join(start, pack(start, made, boxes))


@pytest.mark.parametrize(
    ("num_sites", "channels", "shape"),
    [(1, 3, (1, 1)), (2, 1, (5, 2)), (37, 4, (30, 41)), (150, 7, (9, 2000)), (530, 3, (64, 90))],
)
def test_a_second_decoder_finds_the_very_same_sites(num_sites, channels, shape):
    data = random_file(num_sites, num_sites, channels, shape)
    sites, canvas = decode(data)
    other = slow_decoder.Decoder(data)
    assert (other.height, other.width) == canvas.shape == shape
    assert (other.k, other.cell) == (canvas.k, canvas.cell) == (5, 2)
    for name, values in other.values().items():
        expected = np.array(values, np.float32).reshape(getattr(sites, name).shape)
        np.testing.assert_array_equal(getattr(sites, name), expected, err_msg=name)


def test_a_file_that_was_written_before_is_read_alike():
    """The golden file, and what it meant then as float32 planes."""
    sites, canvas = sad.load(DATA / "golden_codec1.sad")
    planes = np.load(DATA / "golden_codec1.npy")
    assert canvas == sad.Canvas((64, 96), k=6, cell=2)
    found = [np.asarray(getattr(sites, name)).reshape(sites.num_sites, -1) for name in FIELDS]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), planes)


def test_tables_are_those_of_the_specification():
    """In 50 digits; no value lies so near a border that float64 could choose another."""
    with localcontext() as context:
        context.prec = 50
        exact = [Decimal(2) ** (Decimal(j) / 1024) * 2**30 for j in range(1024)]
        assert min(v % 1 for v in exact[1:]) > 1e-4
        assert [int(v) for v in exact] == fixed._POWERS.tolist()
    for t in range(0, 2**14, 37):
        assert slow_decoder.cosine(t) == fixed.cosine(t)
    turns = 2.0**30 * np.cos(np.pi / 2**14 * np.arange(2**14 + 1))
    assert abs(turns - np.floor(turns) - 0.5).min() > 1e-5
    arcs = 2**14 / np.pi * np.arctan(np.arange(1025) / 1024)
    assert abs(arcs - np.floor(arcs) - 0.5).min() > 1e-5
    borders, _ = tables.residual_tables()
    for row in range(0, len(borders), 13):
        assert borders[row].tolist() == slow_decoder.table(row // 8, row % 8)
    assert (np.diff(borders) >= 1).all()
    for j in range(8):
        assert tables.beta_shape(j).tolist() == slow_decoder.beta(j)


@few
@hypothesis.given(st.lists(st.integers(1, 2**61 - 1), min_size=1, max_size=20))
def test_logarithms_and_powers(values):
    found = fixed.logarithm(np.array(values))
    assert found.tolist() == [slow_decoder.log2(v) for v in values]
    assert fixed.bit_length(np.array(values)).tolist() == [v.bit_length() for v in values]
    exponents = [(v % 60000) - 40000 for v in values]
    assert fixed.power(exponents, 20).tolist() == [slow_decoder.pow2(e, 20) for e in exponents]


@few
@hypothesis.given(st.lists(st.tuples(*[st.integers(-(2**40), 2**40)] * 2), min_size=1, max_size=9))
def test_angles_of_vectors(vectors):
    x, y = np.array(vectors).T
    found = fixed.angle_of(x, y)
    assert found.tolist() == [slow_decoder.angle_of(*v) for v in vectors]
    apart = (found / 2**14 - np.arctan2(y, x) / np.pi + 1) % 2 - 1
    assert (abs(apart)[(x != 0) | (y != 0)] < 1e-3).all()


@few
@hypothesis.given(st.integers(1, 30), st.integers(0, 2**32))
def test_the_curve_goes_there_and_back(order, seed):
    place = np.random.default_rng(seed).integers(0, 4**order, 30)
    x, y = curve.from_curve(place, order)
    assert max(x.max(), y.max()) < 2**order
    np.testing.assert_array_equal(curve.to_curve(x, y, order), place)
    near = curve.from_curve(np.minimum(place + 1, 4**order - 1), order)
    assert (abs(near[0] - x) + abs(near[1] - y) <= 1).all()


@few
@hypothesis.given(st.integers(0, 2**62 - 1), st.integers(0, 2**61))
def test_numbers_take_as_few_bytes_as_they_can(value, most):
    data = numbers.to_bytes(value)
    assert len(data) == max(1, -(-value.bit_length() // 7))
    assert numbers.Cursor(data).number(value) == value
    for signed in (most, -most):
        assert numbers.Cursor(numbers.signed_to_bytes(signed)).signed(most) == signed
    with pytest.raises(ValueError, match="expected"):
        numbers.Cursor(data[:-1] + bytes([data[-1] | 128, 0])).number(2**62)


@few
@hypothesis.given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32))
def test_lanes_give_back_what_was_written(lanes, turns, seed):
    rng = np.random.default_rng(seed)
    counts = np.full(turns, lanes)
    counts[-1] = rng.integers(1, lanes + 1)
    order = Turns.in_rows(counts)
    kept = rng.random(len(order)) < 0.5
    rows = rng.integers(0, len(tables.residual_tables()[0]), len(order))
    most = rng.integers(1, 1024, len(order))
    few_numbers = np.minimum(most, 128)
    shapes, which = tables.peak_shapes(3), rng.integers(0, 17, len(order))
    writer = Writer(lanes)
    symbols = writer.residuals(rows, order, rng.integers(0, 64, len(order)))
    some = writer.uniform(most[kept], order.where(kept), rng.integers(0, most[kept]))
    others = writer.shaped(shapes, which, few_numbers, order, rng.integers(0, few_numbers))
    reader = Reader(writer.finish())
    np.testing.assert_array_equal(reader.residuals(rows, order), symbols)
    np.testing.assert_array_equal(reader.uniform(most[kept], order.where(kept)), some)
    np.testing.assert_array_equal(reader.shaped(shapes, which, few_numbers, order), others)
    reader.finish()


@pytest.mark.parametrize("num_sites", [1, 2, 255, 512, 513, 4097, 70_001])
def test_every_site_is_in_one_batch_after_those_that_bracket_it(num_sites):
    order = Order(num_sites)
    batches = order.base() + order.within(np.arange(order.groups))
    seen = np.concatenate([batch.sites for batch in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(num_sites))
    when = np.empty(num_sites, int)
    when[seen] = np.repeat(np.arange(len(batches)), [len(batch.sites) for batch in batches])
    for batch in batches:
        assert (order.level(batch.sites) == batch.level).all()
        before = batch.sites - (1 << batch.level)
        assert (when[before[before >= 0]] < when[batch.sites[before >= 0]]).all()


@pytest.fixture(scope="module")
def file() -> bytes:
    return random_file(3, 600, 3, (64, 90))


def resealed(data: bytes, payload: bytes) -> bytes:
    """The file with another payload, whose checksums fit as far as they can be told to."""
    header = read_header(data)
    start = write_start(1, header.canvas, header.channels, header.num_sites)
    return join(start, payload)


def payload_of(data: bytes) -> bytes:
    return data[len(data) - read_header(data).payload_bytes :]


def check_refused_or_finite(data: bytes) -> None:
    """A file is refused in one line, or read as sites whose values are finite."""
    told = "expected "
    try:
        sites, _ = decode(data)
    except ValueError as error:
        told = str(error)
    else:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(sites))
    assert told.startswith("expected ")
    assert "\n" not in told


def altered(data, draw: bytes) -> bytes:
    """One to three bytes replaced."""
    found = bytearray(draw)
    for _ in range(data.draw(st.integers(1, 3))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.integers(0, 255))
    return bytes(found)


def test_groups_that_are_read_in_parts_are_the_same(file, monkeypatch):
    whole, _ = decode(file)
    monkeypatch.setattr(codec, "GROUPS_AT_ONCE", 2)
    parts, _ = decode(file)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)


@few
@hypothesis.given(st.data())
def test_a_damaged_payload_is_refused_or_means_finite_sites(file, data):
    """Also where the checksum of the whole is right: lanes know their end, the head has its own."""
    check_refused_or_finite(resealed(file, altered(data, payload_of(file))))


@few
@hypothesis.given(st.data())
def test_a_hostile_head_is_refused_or_means_finite_sites(file, data):
    """A head whose checksum was made to fit, which no accident does."""
    payload, header = payload_of(file), read_header(file)
    start = write_start(1, header.canvas, header.channels, header.num_sites)
    end = next(n for n in range(20, 200) if sealed_at(start, payload, n))
    head = altered(data, payload[:end])
    seal = struct.pack("<I", zlib.crc32(head, zlib.crc32(start)))
    check_refused_or_finite(join(start, head + seal + payload[end + 4 :]))


def sealed_at(start: bytes, payload: bytes, end: int) -> bool:
    stored = payload[end : end + 4]
    return stored == struct.pack("<I", zlib.crc32(payload[:end], zlib.crc32(start)))


@pytest.mark.parametrize(("channels", "num_sites"), [(3, 2**31 - 1), (2**16 - 1, 40_000)])
def test_few_bytes_cannot_promise_much_memory(file, channels, num_sites):
    canvas, payload = read_header(file).canvas, payload_of(file)
    data = join(write_start(1, canvas, channels, num_sites), payload)
    told = f"bytes for {num_sites} sites of {channels} channels, got {len(payload)}"
    with pytest.raises(ValueError, match=rf"expected at least \d+ {told}"):
        decode(data, max_pixels=None)


def test_head_and_parameters_are_short(file):
    """Of three channels: all but the lanes and the index."""
    payload, start = payload_of(file), write_start(1, read_header(file).canvas, 3, 600)
    end = next(n for n in range(20, 200) if sealed_at(start, payload, n))
    index = 2 + 6 * Order(600).groups
    assert len(file) - len(payload) + end + 4 - index <= 90


@pytest.mark.slow
def test_rounded_sites_are_near_those_given(make_sites):
    sites = make_sites(700, shape=(64, 90))
    found = []
    for quality in (0, 12, 60):
        read, canvas = sad.decode(sad.encode(sites, (64, 90), quality=quality))
        picture, exact = (np.asarray(sad.render(s, canvas)) for s in (read, sites))
        found.append(sad.metrics.psnr(picture, exact))
    assert found[0] > 30
    assert found[1] > found[0] + 6
    assert found[2] > 55
