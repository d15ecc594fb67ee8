"""Netpbm: what is refused and told; the layouts are in test_reading."""

import numpy as np
import pytest

from experiments.formats.synthetic import read


def test_a_bitmap_in_text_needs_no_spaces_and_one_is_black(tmp_path):
    image = read(tmp_path, b"P1 # comment\n3 2\n101 # more\n0 1 0\n")
    np.testing.assert_array_equal(image[..., 0], [[0, 1, 0], [1, 0, 1]])


@pytest.mark.parametrize("channels", [2, 5])
def test_pam_of_other_tuples_keeps_its_channels(tmp_path, channels):
    head = b"P7\n# x\nWIDTH 3\nHEIGHT 2\nDEPTH %d\nMAXVAL 255\nENDHDR\n" % channels
    values = np.arange(6 * channels, dtype=np.uint8)
    image = read(tmp_path, head + values.tobytes())
    np.testing.assert_allclose(image, values.reshape(2, 3, channels) / 255, rtol=1e-6)


def test_a_second_picture_is_told(tmp_path):
    with pytest.warns(UserWarning, match="got 2 of which the first"):
        read(tmp_path, b"P5 2 2 255\n" + bytes(4) + b"P5 2 2 255\n" + bytes(4))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5 2 2 100\n\0\0\0\x65", "101 where 100 is the largest value"),
        (b"P2 2 2 100\n0 1 2 101\n", "101 where 100 is the largest value"),
        (b"P5 2 2 70000\n" + bytes(16), "70000 as the largest value"),
        (b"P5 2 2 0\n" + bytes(16), "0 as the largest value"),
        (b"P6 2 2 255\n" + bytes(11), "11 bytes of 12"),
        (b"P3 2 2 255\n1 2 3", "3 numbers of 12"),
        (b"P5 2 2", "a header that is cut off"),
        (b"P5 x 2 255\n" + bytes(9), "invalid literal"),
        (b"P5 0 2 255\n" + bytes(9), r"shape \(2, 0, 1\)"),
        (b"P5 -1 2 255\n" + bytes(9), "cannot reshape"),
        (b"P7\nWIDTH 2\nHEIGHT 2\nENDHDR\n" + bytes(9), "DEPTH"),
        (b"PF 2 2 -1\n" + bytes(40), "40 bytes of 48"),
    ],
)
def test_broken_files_are_refused(tmp_path, data, reason):
    with pytest.raises(ValueError, match=f"^expected .* got .*{reason}"):
        read(tmp_path, data)
