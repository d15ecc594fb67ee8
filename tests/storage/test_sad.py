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
from sad_jax.storage.sad import decode, encode, read_header

HEADER = "<4sBBBBHHHII"  # written out again: the layout is a promise, not an implementation detail
START = 26
FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
few = hypothesis.settings(max_examples=60, deadline=None)


def bits(array) -> np.ndarray:
    return np.asarray(array, np.float32).view(np.uint32)


def forged(data: bytes, payload: bytes | None = None, **changes) -> bytes:
    """The file with other header values or payload, and a checksum that fits."""
    header = read_header(data)
    payload = data[START:] if payload is None else payload
    packed = struct.pack(HEADER, *header._replace(**{"payload_bytes": len(payload)} | changes))
    return packed + struct.pack("<I", zlib.crc32(packed + payload)) + payload


@pytest.fixture(scope="module")
def file(make_sites) -> bytes:
    return encode(make_sites(5), Canvas((12, 16), k=6, cell=2))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_round_trip_is_bit_exact(make_sites, channels):
    sites = make_sites(11, channels)
    canvas = Canvas((300, 65535), k=12, cell=4)
    read, read_canvas = decode(encode(sites, canvas))
    for name in FIELDS:
        np.testing.assert_array_equal(bits(getattr(read, name)), bits(getattr(sites, name)))
        assert getattr(read, name).dtype == np.float32
    assert read_canvas == Canvas((300, 65535), k=12, cell=4)


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
    header = struct.unpack_from(HEADER, file)
    assert header == (b"\x89SAD", 1, 0, 6, 2, 16, 12, 3, 5, 4 * 10 * 5)
    assert struct.unpack_from("<I", file, 22)[0] == zlib.crc32(file[:22] + file[26:])
    planes = np.frombuffer(file, "<f4", offset=START).reshape(10, 5)
    expected = [*sites.position.T, sites.log_tau, sites.radius, *sites.color.T]
    expected += [*sites.direction.T, sites.log_aniso]
    np.testing.assert_array_equal(planes, expected)


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
    "header of 26 bytes, got 25": lambda file: file[:25],
    "truncated": lambda file: file[:-1],
    "payload of 200 bytes, got 0": lambda file: file[:START],
    "trailing bytes": lambda file: file + b"\0",
    "version 1, got 2": lambda file: forged(file, version=2),
    "version 1, got 0": lambda file: forged(file, version=0),
    "codec": lambda file: forged(file, codec=9),
    "checksum": lambda file: file[:40] + bytes([file[40] ^ 1]) + file[41:],
    "checksum ": lambda file: file[:14] + bytes([file[14] ^ 1]) + file[15:],
    "for 4294967295 sites": lambda file: forged(file, num_sites=2**32 - 1),
    "for 5 sites of 65535 channels": lambda file: forged(file, channels=65535),
    "for 6 sites": lambda file: forged(file, num_sites=6),
    "at least one site": lambda file: forged(file, b"", num_sites=0),
    "0 channels": lambda file: forged(file, file[START : START + 140], channels=0),
    "at least one pixel": lambda file: forged(file, width=0),
    "K from 1 to 32, got 0": lambda file: forged(file, k=0),
    "K from 1 to 32, got 33": lambda file: forged(file, k=33),
    "cell of 1, 2 or 4 pixels a side, got 3": lambda file: forged(file, cell=3),
    "finite": lambda file: forged(file, file[START:-4] + struct.pack("<f", np.nan)),
    "payload of 4294967295 bytes": lambda file: forged(file, payload_bytes=2**32 - 1),
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
    for prefix in (b"", b"\x89SAD", b"\x89SAD\1\0\x08\1"):
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
            "width": st.integers(0, 65535),
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
    for shape in ((12, 65536), (0, 4), (4,)):
        with pytest.raises(ValueError, match="expected"):
            encode(sites, shape)
