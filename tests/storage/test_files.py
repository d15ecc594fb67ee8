"""Sites files by suffix: the official forms against their own words, and all forms in a circle."""

import io
import json
import os

import numpy as np
import pytest

import sad_jax
from sad_jax.coding.encode import save
from sad_jax.model.canvas import Canvas
from sad_jax.storage import official, sad
from sad_jax.storage.files import load, parse

FIELDS = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
SIZE, TOTAL = "# Image size: 16 12\n", "# Total sites: "
ROW = "1 2 0.1 0.2 0.3 6 4 0.6 0.8 -1"


def assert_same(a, b) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("suffix", [".sad", ".txt", ".json", ".SAD"])
@pytest.mark.parametrize("n", [1, 50])
def test_round_trip_keeps_every_float32(tmp_path, make_sites, suffix, n):
    sites = make_sites(n)
    path = tmp_path / f"a{suffix}"
    save(path, sites, (12, 16))
    read, canvas = load(path)
    assert_same(read, sites)
    assert canvas == Canvas((12, 16), k=8, cell=1)


@pytest.mark.parametrize("path", [b"a.sad", 3, None, io.BytesIO()])
def test_what_is_no_path_is_refused(path, make_sites):
    for use in (load, sad_jax.open, lambda path: save(path, make_sites(1), (2, 2))):
        with pytest.raises(ValueError, match="expected the path of a file, got"):
            use(path)


def test_sad_keeps_lists_and_channels(tmp_path, make_sites):
    save(tmp_path / "a.sad", make_sites(4, 7), Canvas((12, 16), k=5, cell=4))
    sites, canvas = load(tmp_path / "a.sad")
    assert sites.channels == 7
    assert canvas == Canvas((12, 16), k=5, cell=4)


def test_the_official_file_reads_and_writes_alike(tmp_path, data):
    source = data / "eight_sites.txt"
    sites, canvas = load(source)
    table = np.loadtxt(source, np.float32)
    assert canvas == Canvas((64, 96))
    np.testing.assert_array_equal(sites.position, table[:, 0:2])
    np.testing.assert_array_equal(sites.color, table[:, 2:5])
    np.testing.assert_array_equal(sites.log_tau, table[:, 5])
    np.testing.assert_array_equal(sites.radius, table[:, 6])
    np.testing.assert_array_equal(sites.direction, table[:, 7:9])
    np.testing.assert_array_equal(sites.log_aniso, table[:, 9])
    save(tmp_path / "again.txt", sites, canvas)
    assert (tmp_path / "again.txt").read_text() == source.read_text()


def test_short_other_and_dead_rows():
    text = f"# {ROW}\n{SIZE}\n{ROW}\n5 6 0 0 0 7 2\n-1{ROW[1:]}\n1 2 3\n\n 0{ROW[1:]} 11\n"
    sites, _ = official.parse_txt(text)
    np.testing.assert_array_equal(sites.position, [[1, 2], [5, 6]])
    np.testing.assert_allclose(sites.direction, [[0.6, 0.8], [1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(sites.log_aniso, [-1, 0])


def test_json_has_the_official_keys(make_sites):
    sites = make_sites(3)
    tree = json.loads(official.format_json(sites, (12, 16)))
    assert (tree["image_width"], tree["image_height"]) == (16, 12)
    assert [list(entry) for entry in tree["sites"]] == [
        ["pos", "color", "log_tau", "radius", "aniso_dir", "log_aniso"]
    ] * 3
    np.testing.assert_array_equal(np.float32(tree["sites"][1]["color"]), sites.color[1])


def test_json_skips_dead_sites_and_fills_in(make_sites):
    site = {"pos": [1, 2], "color": [0, 0.5, 1], "log_tau": 6, "radius": 4}
    dead = site | {"pos": [-1, 2]}
    text = json.dumps({"image_width": 16, "image_height": 12, "sites": [dead, site]})
    sites, canvas = official.parse_json(text)
    assert canvas == Canvas((12, 16))
    assert sites.position.tolist() == [[1, 2]]
    assert sites.direction.tolist() == [[1, 0]]


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_official_forms_refuse_other_sites(tmp_path, make_sites, suffix):
    sites = make_sites(3)
    nan = sites.replace(radius=np.full(3, np.nan, np.float32))
    outside = sites.replace(position=sites.position - 100)
    bad = {"3 channels": make_sites(3, 4), "finite": nan, "x >= 0": outside}
    for expected, wrong in bad.items():
        with pytest.raises(ValueError, match=expected):
            save(tmp_path / f"a{suffix}", wrong, (12, 16))
    assert not os.listdir(tmp_path)


SITE = '{"pos": [1, 2], "color": [0, 0, 0], "log_tau": 6, "radius": 4}'
HEAD = '{"image_width": 16, "image_height": 12, "sites": '
BAD = (
    {
        ("a.sad", "first bytes"): b"# SAD Sites",
        ("a.sad", "empty"): b"",
        ("a.txt", "empty"): b"",
        ("a.txt", "Image size"): f"{ROW}\n".encode(),
        ("a.txt", "live site"): SIZE.encode(),
        ("a.txt", "live site "): f"{SIZE}-{ROW}\n".encode(),
        ("a.txt", "numbers in line 2"): f"{SIZE}x{ROW}\n".encode(),
        ("a.txt", "finite"): f"{SIZE}nan{ROW[1:]}\n".encode(),
        ("a.txt", "finite "): f"{SIZE}1e99{ROW[1:]}\n".encode(),
        ("a.txt", "at least one pixel"): f"# Image size: 0 12\n{ROW}\n".encode(),
        ("a.txt", "no text"): b"\xff\xfe\x89",
        ("a.json", "JSON sites file"): HEAD.encode(),
        ("a.json", "image_width"): b'{"image_height": 12, "sites": []}',
        ("a.json", "live site"): f"{HEAD}[]}}".encode(),
        ("a.json", "log_tau"): f"{HEAD}[{SITE}]}}".replace("log_tau", "tau").encode(),
        ("a.json", "official JSON form"): f"{HEAD}[{SITE}]}}".replace("[1, 2]", "[1]").encode(),
        ("a.json", "official JSON form "): f"{HEAD}[7]}}".encode(),
        ("a.json", "official JSON form  "): b"[1, 2]",
        ("a.json", "finite"): f"{HEAD}[{SITE}]}}".replace(": 6", ": NaN").encode(),
        ("a.json", "expected a JSON"): b"[" * 100_000,
        ("a.json", "JSON sites file "): f"{HEAD}[{SITE}]}}".replace("16", "1" * 5000).encode(),
        (
            "a.txt",
            "8 sites as the file's head says, got 1",
        ): f"{SIZE}{TOTAL}8\n{ROW}\n".encode(),
        (
            "a.txt",
            "0 sites as the file's head says, got 1",
        ): f"{SIZE}{TOTAL}0\n{ROW}\n".encode(),
        ("a.txt", "whole last line"): f"{SIZE}{TOTAL}1\n{ROW}".encode(),
    }
    | {
        (name, f"{expected}{' ' * i}"): data
        for i, (width, expected) in enumerate(
            [
                ("65535", "at most 134217728 pixels, got 65535x65535, which take 48.0 GiB"),
                ("999999999", "at most 134217728 pixels, got 999999999x999999999"),
                ("2147483648", "a whole number of pixels a side up to 2147483647, got 2147483648"),
                ("9" * 30, "a whole number of pixels a side up to 2147483647"),
                ("1" * 5000, "expected"),
                ("0", "at least one pixel"),
            ]
        )
        for name, data in (
            ("a.txt", f"# Image size: {width} {width}\n{ROW}\n".encode()),
            ("a.json", f"{HEAD}[{SITE}]}}".replace("16", width).replace("12", width).encode()),
        )
    }
    | {
        ("a.json", f"whole number of pixels a side{' ' * i}"): f"{HEAD}[{SITE}]}}".replace(
            "16", width
        ).encode()
        for i, width in enumerate(["16.5", "true", "null", '"16"', "1e300", "1e999", "NaN", "[16]"])
    }
)


@pytest.mark.parametrize(("name", "expected"), BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name, expected):
    path = tmp_path / name
    path.write_bytes(BAD[name, expected])
    with pytest.raises(ValueError, match=expected.strip()) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".sad", ".txt", ".json"])
def test_a_file_that_is_cut_anywhere_is_refused(make_sites, suffix):
    """Not one site is lost in silence, nor a digit of one."""
    canvas = Canvas((12, 16))
    data = {
        ".sad": lambda: sad.encode_raw(make_sites(3), canvas),
        ".txt": lambda: official.format_txt(make_sites(3), canvas).encode(),
        ".json": lambda: official.format_json(make_sites(3), canvas).strip().encode(),
    }[suffix]()
    assert parse(data, suffix, max_pixels=None)[0].num_sites == 3
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"^expected"):
            parse(data[:size], suffix, max_pixels=None)


@pytest.mark.parametrize("suffix", [".sad", ".txt", ".json"])
def test_a_larger_canvas_is_read_if_asked_for(tmp_path, make_sites, suffix):
    """What a few bytes can promise is refused with its size in memory, until it is allowed."""
    path, canvas = tmp_path / f"a{suffix}", Canvas((65535, 65535))
    save(path, make_sites(1), canvas)
    with pytest.raises(ValueError, match=r"got 65535x65535, which take 48.0 GiB; max_pixels=.*a\."):
        load(path)
    assert load(path, max_pixels=2**32)[1] == load(path, max_pixels=None)[1] == canvas
    save(path, make_sites(1), (12, 16))
    with pytest.raises(ValueError, match="at most 191 pixels, got 16x12"):
        load(path, max_pixels=191)
    assert load(path, max_pixels=192)[1].shape == (12, 16)


def test_no_file_a_directory_another_suffix(tmp_path, make_sites):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "a.sad")
    (tmp_path / "b.sad").mkdir()
    with pytest.raises(ValueError, match="directory"):
        load(tmp_path / "b.sad")
    for act in (lambda path: load(path), lambda path: save(path, make_sites(2), (4, 4))):
        with pytest.raises(ValueError, match=r"ending in \.sad, \.txt, \.json"):
            act(tmp_path / "a.png")
