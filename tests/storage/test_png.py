"""PNG: what is broken; the layouts are in test_reading, colours in test_color."""

import numpy as np
import pytest

from experiments.formats.synthetic import chunk, png, read

RNG = np.random.default_rng(13)
INDEX = RNG.integers(0, 4, (5, 7, 1))
INDEX[0, 0] = 3


def test_colors_beyond_the_palette_are_refused(tmp_path):
    data = png(INDEX, 2, 3, chunk(b"PLTE", bytes(9)), False)
    with pytest.raises(ValueError, match="colour 3 of a palette of 3"):
        read(tmp_path, data)


@pytest.mark.parametrize("name", ["IHDR", "PLTE", "tRNS", "IDAT"])
def test_chunks_that_count_have_right_sums(tmp_path, name):
    data = png(INDEX, 2, 3, chunk(b"PLTE", bytes(12)) + chunk(b"tRNS", b"\1\2"), False)
    at = data.index(name.encode()) + 4
    with pytest.raises(ValueError, match=f"got a PNG with a broken {name}"):
        read(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_broken_chunk_that_does_not_count_does_no_harm(tmp_path):
    samples = RNG.integers(0, 65536, (5, 7, 3))
    text = bytearray(chunk(b"tEXt", b"Title\0A"))
    text[-1] ^= 1
    image = read(tmp_path, png(samples, 16, 2, bytes(text), False))
    np.testing.assert_allclose(image, samples / 65535, rtol=1e-6)


def test_alpha_of_a_palette_may_be_shorter_than_it(tmp_path):
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    data = png(INDEX, 2, 3, chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", b"\x10"), False)
    expected = np.concatenate([palette, [[0x10], [255], [255], [255]]], axis=1)[INDEX[..., 0]]
    np.testing.assert_allclose(read(tmp_path, data), expected / 255, rtol=1e-6)
