"""The .sad container: bit exact, and nothing but a whole, unaltered file is read."""

import struct
import zlib

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites
from sad_jax.storage.sad import decode, read_header
from sad_jax.storage.sad import encode_raw as encode

START = 18  # of the payload of ``file``, its checksum before it
FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
few = hypothesis.settings(max_examples=60, deadline=None)


def bits(array) -> np.ndarray:
    return np.asarray(array, np.float32).view(np.uint32)


def number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; written out again, as the layout is a promise."""
    low = bytes([value & 127 | 128 * (value > 127)])
    return low + number(value >> 7) if value > 127 else low


def header(magic, version, codec, k, cell, *numbers) -> bytes:
    return bytes([*magic, version, codec, k, cell]) + b"".join(map(number, numbers))


def forged(data: bytes, payload: bytes | None = None, **changes) -> bytes:
    """The file with other header values or payload, and a checksum that fits."""
    old = read_header(data)
    payload = data[START:] if payload is None else payload
    packed = header(*old._replace(**{"payload_bytes": len(payload)} | changes))
    return packed + struct.pack("<I", zlib.crc32(packed + payload)) + payload


def first_version(data: bytes) -> bytes:
    """The same file as version 1 had it, with a header of fixed fields."""
    old = read_header(data)
    packed = struct.pack("<4sBBBBHHHII", *old._replace(version=1))
    return packed + struct.pack("<I", zlib.crc32(packed + data[START:])) + data[START:]


@pytest.fixture(scope="module")
def file(make_sites) -> bytes:
    return encode(make_sites(5), Canvas((12, 16), k=6, cell=2))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_round_trip_is_bit_exact(make_sites, channels):
    sites = make_sites(11, channels)
    canvas = Canvas((300, 2**31 - 1), k=12, cell=4)
    read, read_canvas = decode(encode(sites, canvas), max_pixels=None)
    for name in FIELDS:
        np.testing.assert_array_equal(bits(getattr(read, name)), bits(getattr(sites, name)))
        assert getattr(read, name).dtype == np.float32
    assert read_canvas == Canvas((300, 2**31 - 1), k=12, cell=4)


@few
@hypothesis.given(
    hypothesis.extra.numpy.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.just(10)),
        elements=st.floats(-40, 40, width=32),
    )
)
def test_any_values_within_the_limits_come_back(rows):
    """Also -0 and subnormals; of colours the largest numbers, too."""
    rows[0, 4:7] = [-3e38, 3e38, 1e-45]
    sites = Sites(rows[:, :2], rows[:, 2], rows[:, 3], rows[:, 4:7], rows[:, 7:9], rows[:, 9])
    read, _ = decode(encode(sites, (4, 4)))
    for name in FIELDS:
        np.testing.assert_array_equal(bits(getattr(read, name)), bits(getattr(sites, name)))


def test_the_layout_is_as_documented(make_sites, file):
    sites = make_sites(5)
    packed = header(b"\x89SAD", 2, 0, 6, 2, 16, 12, 3, 5, 4 * 10 * 5)
    assert file[: START - 4] == packed
    assert struct.unpack_from("<I", file, START - 4)[0] == zlib.crc32(packed + file[START:])
    planes = np.frombuffer(file, "<f4", offset=START).reshape(10, 5)
    expected = [*sites.position.T, sites.log_tau, sites.radius, *sites.color.T]
    expected += [*sites.direction.T, sites.log_aniso]
    np.testing.assert_array_equal(planes, expected)


def test_files_of_version_1_are_still_read(file):
    old, new = decode(first_version(file)), decode(file)
    assert old[1] == new[1]
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(old[0], name), getattr(new[0], name))


def test_read_header(file):
    header = read_header(file)
    assert (header.num_sites, header.channels) == (5, 3)
    assert header.canvas == Canvas((12, 16), k=6, cell=2)


def test_a_plain_shape_means_the_official_lists(make_sites):
    _, canvas = decode(encode(make_sites(2), (12, 16)))
    assert (canvas.k, canvas.cell) == (8, 1)


MALFORMED = {
    "first bytes": lambda file: b"\x89PNG" + file[4:],
    "first bytes b''": lambda file: b"",
    "more bytes, got 0: truncated": lambda file: file[: START - 4],
    "truncated": lambda file: file[:-1],
    "payload of 200 bytes, got 0": lambda file: file[:START],
    "trailing bytes": lambda file: file + b"\0",
    "version 1 or 2, got 3": lambda file: forged(file, version=3),
    "version 1 or 2, got 0": lambda file: forged(file, version=0),
    "codec": lambda file: forged(file, codec=9),
    "checksum": lambda file: file[:40] + bytes([file[40] ^ 1]) + file[41:],
    "checksum ": lambda file: file[:11] + bytes([file[11] ^ 1]) + file[12:],
    "for 2147483647 sites": lambda file: forged(file, num_sites=2**31 - 1),
    "for 5 sites of 65535 channels": lambda file: forged(file, channels=65535),
    "for 6 sites": lambda file: forged(file, num_sites=6),
    "at least one site": lambda file: forged(file, b"", num_sites=0),
    "0 channels": lambda file: forged(file, file[START : START + 140], channels=0),
    "at least one pixel": lambda file: forged(file, width=0),
    "K from 1 to 32, got 0": lambda file: forged(file, k=0),
    "K from 1 to 32, got 33": lambda file: forged(file, k=33),
    "cell of 1, 2 or 4 pixels a side, got 3": lambda file: forged(file, cell=3),
    "finite": lambda file: forged(file, file[START:-4] + struct.pack("<f", np.nan)),
    "payload of 1099511627776 bytes": lambda file: forged(file, payload_bytes=2**40),
    "at most 2147483647, got 2147483648": lambda file: forged(file, width=2**31),
    "in 2 bytes": lambda file: file[:8] + b"\x90\0" + file[9:],
}


@pytest.mark.parametrize("expected", MALFORMED)
def test_malformed_files_are_refused_in_one_line(file, expected):
    with pytest.raises(ValueError, match=expected.strip()) as error:
        decode(MALFORMED[expected](file))
    assert str(error.value).startswith("expected ")
    assert "\n" not in str(error.value)


@few
@hypothesis.given(st.binary(max_size=300))
def test_random_bytes_are_refused(data):
    for prefix in (b"", b"\x89SAD", b"\x89SAD\2\0\x08\1", b"\x89SAD\2\1\x08\1"):
        with pytest.raises(ValueError, match="expected"):
            decode(prefix + data)


@few
@hypothesis.given(st.data())
def test_every_flipped_bit_is_refused(file, data):
    position = data.draw(st.integers(0, 8 * len(file) - 1))
    altered = bytearray(file)
    altered[position // 8] ^= 1 << position % 8
    with pytest.raises(ValueError, match="expected"):
        decode(bytes(altered))


@few
@hypothesis.given(st.data())
def test_every_truncation_is_refused(file, data):
    with pytest.raises(ValueError, match="expected"):
        decode(file[: data.draw(st.integers(0, len(file) - 1))])


@few
@hypothesis.given(
    st.fixed_dictionaries(
        {},
        optional={
            "codec": st.integers(0, 255),
            "k": st.integers(0, 255),
            "cell": st.integers(0, 255),
            "width": st.integers(0, 2**31),
            "height": st.integers(0, 65535),
            "channels": st.integers(0, 65535),
            "num_sites": st.integers(0, 2**32 - 1),
        },
    )
)
def test_forged_headers_are_refused_or_fit(file, changes):
    """With a valid checksum too, a file either means what its header says or nothing."""
    try:
        sites, canvas = decode(forged(file, **changes))
    except ValueError:
        return
    assert 4 * (7 + sites.channels) * sites.num_sites == len(file) - START
    assert canvas.shape == (changes.get("height", 12), changes.get("width", 16))


def test_encode_refuses_what_no_file_can_hold(make_sites):
    sites = make_sites(4)
    bad = {
        "color": sites.replace(color=sites.color[:3]),
        "radius": sites.replace(radius=sites.radius[:, None]),
        "log_tau": sites.replace(log_tau=np.float32(3.0)),
        "at least one site": Sites(*(getattr(sites, name)[:0] for name in FIELDS)),
        "finite": sites.replace(radius=np.array([1, 2, np.inf, 3], np.float32)),
    }
    for expected, wrong in bad.items():
        with pytest.raises(ValueError, match=expected):
            encode(wrong, (12, 16))
    for shape in ((12, 2**31), (0, 4), (4,)):
        with pytest.raises(ValueError, match="expected"):
            encode(sites, shape)
