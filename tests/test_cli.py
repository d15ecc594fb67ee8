"""The command line: figures from the file, bad input in one line, nothing half written."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sad_jax as sad
from sad_jax import cli
from sad_jax.commands import folder as folder_command
from sad_jax.commands.bar import Bar, film_ending
from sad_jax.metrics import psnr

FIT_KEYS = (
    "psnr ssim sites bytes bpp nominal_bpp float_psnr seconds compile_seconds steps width height "
    "seed recipe implementation device versions"
)
PICTURES = ("photo.png", "photo_diagram.png", "photo_tau.png", "photo_error.png")
HEIGHT, WIDTH = 16, 24
SITES = 64  # as many as the fit starts with, so that all fits here share what they compile


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Each test stands in its own empty folder, without a compile cache."""
    monkeypatch.setenv("SAD_JAX_CACHE", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photo() -> str:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x / WIDTH, y / HEIGHT, (x > 12) * 0.8], -1)
    sad.write_image("photo.png", image)
    return "photo.png"


@pytest.fixture
def file(make_sites) -> str:
    sad.save("a.sad", make_sites(9), sad.Canvas((12, 16), k=5, cell=2))
    return "a.sad"


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def fit(*words, sites=SITES) -> int:
    return run("fit", "photo.png", "--sites", sites, "--steps", 40, *words)


def figures(path="f.json") -> dict:
    return json.loads(Path(path).read_text())


def assert_refused(capsys, *words, expected: str) -> None:
    before = sorted(os.listdir())
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("sad-jax: error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("sites", [SITES, pytest.param(20, marks=pytest.mark.slow, id="thinned")])
def test_fit_writes_the_file_and_its_pictures(photo, capsys, sites):
    words = ("--out", "new/folder", "--json", "other/f.json", "--seed", 3)
    assert fit(*words, sites=sites) == 0
    out, err = capsys.readouterr()
    assert not err
    assert "dB" in out
    found = figures("other/f.json")
    assert list(found) == FIT_KEYS.split()
    folder = Path("new/folder")
    assert {"photo.sad", *PICTURES} <= set(os.listdir(folder))

    stored, canvas = sad.load(folder / "photo.sad")
    assert canvas.shape == (HEIGHT, WIDTH)
    assert found["sites"] == stored.num_sites <= sites
    assert found["bytes"] == os.path.getsize(folder / "photo.sad")
    assert found["bpp"] == pytest.approx(8 * found["bytes"] / (HEIGHT * WIDTH))
    assert found["nominal_bpp"] == pytest.approx(128 * stored.num_sites / (HEIGHT * WIDTH))
    assert (found["width"], found["height"], found["seed"], found["steps"]) == (
        WIDTH,
        HEIGHT,
        3,
        40,
    )
    assert found["recipe"] == "fast"
    assert {"sad-jax", "jax", "python"} <= set(found["versions"])

    drawn = np.clip(sad.render(stored, sad.find_candidates(stored, canvas)), 0, 1)
    assert found["psnr"] == pytest.approx(psnr(drawn, sad.read_image(photo)), abs=1e-4)
    assert found["ssim"] is not None
    np.testing.assert_allclose(sad.read_image(folder / "photo.png"), drawn, atol=0.51 / 255)
    for name in PICTURES:
        assert sad.read_image(folder / name).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.slow
def test_fit_is_reproducible_and_render_agrees(photo):
    for out in ("a", "b"):
        assert fit("--out", out, "--json", f"{out}.json") == 0
    assert Path("a/photo.sad").read_bytes() == Path("b/photo.sad").read_bytes()
    command = ("render", "a/photo.sad", "--out", "r.png", "--target", photo, "--json", "r.json")
    assert run(*command) == 0
    for name in ("psnr", "ssim"):
        assert figures("r.json")[name] == pytest.approx(figures("a.json")[name], abs=1e-4)
    assert Path("r.png").read_bytes() == Path("a/photo.png").read_bytes()


@pytest.mark.slow
def test_paper_recipe_on_a_small_picture_of_many_channels():
    """Seven channels show as three, and a picture smaller than its window has no SSIM."""
    np.save("photo.npy", np.random.default_rng(0).random((6, 8, 7)))
    words = ("--recipe", "paper", "--steps", 3, "--k", 6, "--cell", 2, "--json", "f.json")
    assert run("fit", "photo.npy", "--bpp", 24, *words) == 0
    found = figures()
    assert (found["recipe"], found["sites"], found["ssim"]) == ("paper", 9, None)
    sites, canvas = sad.load("out/photo.sad")
    assert (sites.channels, canvas.k, canvas.cell) == (7, 6, 2)
    assert sad.read_image("out/photo.png").shape == (6, 8, 3)


def test_time_budget(photo):
    assert fit("--seconds", 1e-3, "--json", "f.json") == 0
    assert figures()["steps"] < 40


@pytest.mark.slow
def test_mask_and_film(photo):
    mask = np.zeros((HEIGHT, WIDTH))
    mask[:, :12] = 1
    sad.write_image("mask.png", mask)
    assert fit("--mask", "mask.png", "--video") == 0
    film = Path("out/photo").with_suffix(film_ending())
    assert film.stat().st_size > 100
    if film.suffix == ".gif":
        with Image.open(film) as opened:
            assert opened.size == (3 * WIDTH, HEIGHT)
    drawn = sad.read_image("out/photo.png")
    target = sad.read_image(photo)
    assert psnr(drawn[:, :12], target[:, :12]) > psnr(drawn[:, 12:], target[:, 12:])


@pytest.mark.slow
def test_an_interrupted_fit_leaves_its_best_and_resumes(photo, capsys, monkeypatch):
    def interrupt(self, state):
        if state.step >= 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "__call__", interrupt)
        assert fit("--json", "f.json") == 130
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "sad-jax fit photo.png --sites 64 --steps 40 --json f.json --resume" in err
    assert 0 < figures()["steps"] < 40
    assert {"photo.sad", *PICTURES} <= set(os.listdir("out"))
    assert fit("--json", "f.json", "--resume") == 0
    assert figures()["steps"] == 40
    assert not list(Path("out").glob("*.ckpt"))


def test_render_at_the_stored_size(file):
    assert run("render", file, "--json", "f.json") == 0
    sites, canvas = sad.load(file)
    np.testing.assert_allclose(
        sad.read_image("a_render.png"), np.clip(sad.render(sites, canvas), 0, 1), atol=0.51 / 255
    )
    found = figures()
    assert list(found) == ["width", "height", "sites", "seconds"]
    assert (found["width"], found["height"], found["sites"]) == (16, 12, 9)


@pytest.mark.parametrize(
    ("words", "shape"), [(("--scale", 2), (24, 32)), (("--size", "20x30"), (30, 20))]
)
def test_render_at_another_size(file, words, shape):
    assert run("render", file, *words, "--out", "sub/b.png", "--json", "f.json") == 0
    assert sad.read_image("sub/b.png").shape == (*shape, 3)
    assert (figures()["height"], figures()["width"]) == shape


def test_scaled_renders_show_the_same_picture(file):
    """Each 3x3 pixels of the large picture hold the small one's pixel in their middle.

    With cells of one pixel; larger ones share a list, which only the picture's own size knows.
    """
    sites, _ = sad.load(file)
    sad.save(file, sites, sad.Canvas((12, 16), k=5))
    assert run("render", file, "--out", "small.npy") == 0
    assert run("render", file, "--scale", 3, "--out", "large.npy") == 0
    np.testing.assert_allclose(np.load("large.npy")[1::3, 1::3], np.load("small.npy"), atol=1e-5)


def test_official_resize(file):
    words = ("--scale", 2, "--keep-radius", "--out", "b.npy")
    sites, canvas = sad.load(file)
    wide = sad.Canvas((24, 32), k=canvas.k, cell=canvas.cell)
    sites = sad.resize(sites, canvas, wide, scale_radius=False)
    assert run("render", file, *words) == 0
    expected = np.clip(sad.render(sites, wide), 0, 1)
    np.testing.assert_allclose(np.load("b.npy"), expected, atol=1e-6)


def test_the_eight_sites_render_as_the_official_program_does(data):
    """K = 8 covers all eight, so all lists agree; the official picture is cut off, not rounded."""
    target = data / "eight_render.png"
    command = ("render", data / "eight_sites.txt", "--target", target, "--json", "f.json")
    for lists in ("exact", "propagated"):
        assert run(*command, "--out", "b.npy", "--lists", lists) == 0
        official = np.rint(255 * sad.read_image(target)[..., :3])
        np.testing.assert_array_equal(np.floor(255 * np.load("b.npy")), official)
        assert figures()["psnr"] > 50
        assert figures()["ssim"] > 0.99


def test_info(file, capsys, make_sites):
    assert run("info", file, "--json", "f.json") == 0
    found = figures()
    assert {name: found[name] for name in ("form", "width", "height", "channels", "k", "cell")} == {
        "form": "sad",
        "width": 16,
        "height": 12,
        "channels": 3,
        "k": 5,
        "cell": 2,
    }
    assert found["bytes"] == os.path.getsize(file)
    assert found["nominal_bpp"] == 128 * 9 / (12 * 16)
    assert "nominal_bpp" in capsys.readouterr().out


def test_info_without_a_file_says_what_runs_here(capsys):
    assert run("info", "--json", "f.json") == 0
    found = figures()
    assert found["engine"] == sad.engine().name
    assert found["because"] == sad.engine().why
    assert found.get("faster", "") == sad.engine().faster
    assert found["because"] in capsys.readouterr().out


def test_convert_in_a_circle(file, capsys):
    for source, target in ((file, "a.txt"), ("a.txt", "a.json"), ("a.json", "b.sad")):
        assert run("convert", source, target) == 0
    assert capsys.readouterr().err.count("K = 5") == 1
    a, b = sad.load(file)[0], sad.load("b.sad")[0]
    for name in vars(a):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_bad_photographs(capsys):
    sad.write_image("thin.png", np.zeros((1, 9)))
    np.save("nan.npy", np.full((4, 4), np.nan))
    Path("empty.png").touch()
    Path("text.png").write_text("no picture")
    sad.write_image("whole.png", np.random.default_rng(0).random((40, 40, 3)))
    Path("half.png").write_bytes(Path("whole.png").read_bytes()[:2000])
    Path("folder.png").mkdir()
    bad = {
        "nowhere.png": "no such file",
        "folder.png": "expected a folder that holds pictures, got none",
        "empty.png": "empty",
        "text.png": "no known format",
        "half.png": "truncated",
        "thin.png": "at least 2 pixels a side, got 9x1",
        "nan.npy": "NaN",
    }
    for name, expected in bad.items():
        assert_refused(capsys, "fit", name, expected=expected)


def test_bad_files(capsys, make_sites):
    data = sad.encode(make_sites(9), (12, 16))
    Path("cut.sad").write_bytes(data[:-3])
    Path("altered.sad").write_bytes(data[:50] + b"!" + data[51:])
    Path("empty.sad").touch()
    Path("a.png").write_bytes(data)
    Path("none.txt").write_text("# Image size: 4 4\n")
    bad = {
        "nowhere.sad": "no such file",
        "cut.sad": "truncated",
        "altered.sad": "checksum",
        "empty.sad": "empty",
        "a.png": "ending in .sad",
        "none.txt": "live site",
    }
    for name, expected in bad.items():
        for words in (("render", name), ("info", name), ("convert", name, "b.txt")):
            assert_refused(capsys, *words, expected=expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "required"),
        (["paint"], "invalid choice"),
        (["fit"], "PHOTO"),
        (["fit", "photo.png", "--sites", "0"], "whole number from 1"),
        (["fit", "photo.png", "--sites", "many"], "got 'many'"),
        (["fit", "photo.png", "--sites", "-3"], "whole number from 1"),
        (["fit", "photo.png", "--sites", "1e3"], "whole number from 1"),
        (["fit", "photo.png", "--steps", "-1"], "whole number from 1"),
        (["fit", "photo.png", "--steps", "inf"], "whole number from 1"),
        (["fit", "photo.png", "--steps", "2147483648"], "whole number from 1 to 2^31 - 1"),
        (["fit", "photo.png", "--bpp", "inf"], "positive number"),
        (["fit", "photo.png", "--bpp", "1e308"], "at most one site a pixel"),
        (["fit", "photo.png", "--seconds", "nan"], "positive number"),
        (["fit", "photo.png", "--k", "-1"], "whole number from 1"),
        (["fit", "photo.png", "--seed", "nan"], "whole number from 0"),
        (["fit", ""], "expected a path, got an empty one"),
        (["fit", "photo.png", "--out", ""], "expected a path, got an empty one"),
        (["fit", "photo.png", "--mask", ""], "expected a path, got an empty one"),
        (["fit", "photo.png", "--json", ""], "expected a path, got an empty one"),
        (["fit", "photo.png", "--json", "photo.png"], "a file of its own for --json"),
        (["fit", "photo.png", "--json", "./out/photo.sad"], "a file of its own for --json"),
        (["render", ""], "expected a path, got an empty one"),
        (["render", "a.sad", "--out", ""], "expected a path, got an empty one"),
        (["render", "a.sad", "--target", ""], "expected a path, got an empty one"),
        (["render", "a.sad", "--size", "-4x4"], "expected one argument"),
        (["render", "a.sad", "--size", "4x4x4"], "whole number"),
        (["render", "a.sad", "--size", "nanx4"], "whole number"),
        (["render", "a.sad", "--scale", "nan"], "positive number"),
        (["render", "a.sad", "--scale", "inf"], "positive number"),
        (["info", ""], "expected a path, got an empty one"),
        (["convert", "a.sad", ""], "expected a path, got an empty one"),
        (["fit", "photo.png", "--sites", "385"], "at most one site a pixel"),
        (["fit", "photo.png", "--bpp", "nan"], "positive number"),
        (["fit", "photo.png", "--bpp", "999"], "at most one site a pixel"),
        (["fit", "photo.png", "--sites", "9", "--bpp", "2"], "not allowed"),
        (["fit", "photo.png", "--seconds", "-1"], "positive number"),
        (["fit", "photo.png", "--seed", "-1"], "whole number from 0"),
        (["fit", "photo.png", "--recipe", "slow"], "invalid choice"),
        (["fit", "photo.png", "--cell", "3"], "invalid choice"),
        (["fit", "photo.png", "--k", "33", "--sites", "9"], "32"),
        (["fit", "photo.png", "--steps", "1", "--implementation", "magic"], "magic"),
        (["fit", "photo.png", "--out", "."], "another --out folder"),
        (["fit", "photo.png", "--out", "a.sad"], "got a file"),
        (["fit", "photo.png", "--mask", "small.png"], "mask of 24x16 pixels, got 6x5"),
        (["fit", "photo.png", "--mask", "nowhere.png"], "no such file"),
        (["fit", "photo.png", "--resume", "--out", "."], "another --out folder"),
        (["render", "a.sad", "--size", "20"], "whole number"),
        (["render", "a.sad", "--size", "0x20"], "whole number from 1"),
        (["render", "a.sad", "--scale", "0"], "positive number"),
        (["render", "a.sad", "--scale", "2", "--size", "4x4"], "not allowed"),
        (["render", "a.sad", "--out", "a.what"], "suffix"),
        (["render", "a.sad", "--target", "photo.png"], "target of 16x12 pixels"),
        (["render", "a.sad", "--target", "nowhere.png"], "no such file"),
        (["convert", "a.sad", "a.jpg"], "ending in .sad"),
        (["convert", "gray.sad", "a.txt"], "3 channels"),
    ],
)
def test_bad_arguments(photo, file, make_sites, capsys, words, expected):
    sad.write_image("small.png", np.ones((5, 6)))
    sad.save("gray.sad", make_sites(4, 1), (12, 16))
    assert_refused(capsys, *words, expected=expected)


def test_resume_needs_something_to_resume(photo, capsys):
    os.mkdir("out")
    assert_refused(capsys, "fit", photo, "--resume", expected="no such file")


def test_a_failing_run_leaves_the_old_output(file, capsys):
    Path("b.png").write_bytes(b"old")
    Path("cut.sad").write_bytes(Path(file).read_bytes()[:-3])
    assert run("render", "cut.sad", "--out", "b.png") == 2
    assert Path("b.png").read_bytes() == b"old"


def test_ctrl_c_ends_in_one_line(file, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sad_jax.storage.files.load", interrupt)
    assert run("info", file) == 130
    assert capsys.readouterr().err == "sad-jax: interrupted\n"


@pytest.fixture
def program(work):
    """``sad-jax`` in a process of its own, with a compile cache in ``cache``."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(sad.__file__).parents[1]),
        "SAD_JAX_CACHE": str(work / "cache"),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    environment.pop("XLA_FLAGS", None)  # by which programs compile too quickly to be kept

    def start(*words):
        command = [sys.executable, "-m", "sad_jax", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return start


@pytest.mark.slow
def test_as_a_program(program):
    """Help, and an error in one line."""
    help_text = program("--help")
    assert help_text.returncode == 0
    assert "convert" in help_text.stdout
    error = program("info", "nowhere.sad")
    assert error.returncode == 2
    assert error.stderr.startswith("sad-jax: error: expected")
    assert error.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_second_program_reads_the_compile_cache_quietly(program, file):
    for _ in range(2):
        picture = program("render", file)
        assert (picture.returncode, picture.stderr) == (0, "")
        assert os.listdir("cache")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["fit", "--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["fit"], 2),
        (["fit", "photo.png", "--sites", "0"], 2),
    ],
)
def test_help_and_wrong_arguments_are_answered_without_jax(words, code):
    """Nor with anything else that takes long to import; the time itself depends on the machine."""
    program = (
        "import sys\n"
        "from sad_jax.cli import main\n"
        "try:\n"
        "    code = main()\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        "slow = {'jax', 'jaxlib', 'numpy', 'PIL', 'optax', 'flax', 'tqdm'}\n"
        "if '--version' not in sys.argv:\n"
        "    slow.add('importlib.metadata')\n"
        "assert not slow & sys.modules.keys(), slow & sys.modules.keys()\n"
        "sys.exit(code)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(sad.__file__).parents[1])}
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (1 if code else 0)


@pytest.mark.slow
def test_a_folder_is_fitted_past_bad_files_and_only_once(photo, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "album"
    folder.mkdir()
    image = sad.read_image(photo)
    for name in ("a.png", "c.npy", "b.jpg"):
        sad.write_image(folder / name, image)
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a picture, left alone")
    words = ("fit", folder, "--sites", SITES, "--steps", 20, "--json", "all.json")
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert "bad.png" in err
    assert len(err.splitlines()) == 1
    table = out.splitlines()[-7:]
    assert [line.split()[0] for line in table] == [
        *("photo", "a.png", "b.jpg", "bad.png", "c.npy", "mean", "3")
    ]
    assert "failed: expected" in table[3]
    rows = json.loads(Path("all.json").read_text())
    assert list(rows) == ["a.png", "b.jpg", "bad.png", "c.npy"]
    for name in ("a", "b", "c"):
        own = json.loads(Path(f"out/{name}.json").read_text())
        assert own.keys() == {*FIT_KEYS.split(), "fit"}  # of which fit it is
        found = np.clip(np.asarray(sad.render(*sad.load(f"out/{name}.sad"))), 0, 1)
        source = next(folder.glob(f"{name}.*"))
        assert own["psnr"] == pytest.approx(psnr(found, sad.read_image(source)), abs=1e-3)
    mean = np.mean([rows[f"{n}"]["psnr"] for n in ("a.png", "b.jpg", "c.npy")])
    assert table[5].split()[1] == f"{mean:.2f}"

    monkeypatch.setattr(
        folder_command, "fit_photo", None
    )  # would fail if anything was fitted again
    (folder / "bad.png").unlink()
    assert run(*words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 fitted"


@pytest.mark.slow
def test_a_folder_that_is_interrupted_goes_on_where_it_was(photo, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        sad.write_image(folder / name, sad.read_image(photo))
    words = ("fit", folder, "--sites", SITES, "--steps", 20)
    calls = []

    def interrupt(self, state):
        calls.append(state.step)
        if calls.count(calls[0]) == 2:  # the second photograph has begun
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "__call__", interrupt)
        assert run(*words) == 130
    out, err = capsys.readouterr()
    assert "--resume" in err
    assert out.splitlines()[-1] == "1 of 1 fitted"
    assert not Path("out/b.json").exists()
    assert run(*words, "--resume") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 2 fitted"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "a folder that holds pictures, got none"),
        (["--mask", "photo.png"], "one picture with --mask"),
        (["--out", "album"], "an --out folder other than that of the pictures"),
    ],
)
def test_folders_that_do_not_fit_are_refused(photo, tmp_path, capsys, words, expected):
    (tmp_path / "album").mkdir()
    if words:
        sad.write_image("album/a.png", sad.read_image(photo))
    assert_refused(capsys, "fit", "album", *words, expected=expected)


class Nobody:
    """A pipe that nobody reads, as a stream; what is written at its end would fail, too."""

    def __init__(self, monkeypatch, name):
        reader, writer = os.pipe()
        os.close(reader)
        self.stream = os.fdopen(writer, "w")
        monkeypatch.setattr(sys, name, self.stream)

    def close(self):
        self.stream.close()  # raises if something is left that cannot be written


@pytest.mark.parametrize(
    "words",
    [("info", "a.sad"), ("info", "a.sad", "--json", "-"), ("render", "a.sad")],
)
def test_a_pipe_that_nobody_reads_stops_no_work(file, capsys, monkeypatch, words):
    nobody = Nobody(monkeypatch, "stdout")
    assert run(*words) == 0
    nobody.close()
    assert bool(capsys.readouterr().err) == ("--json" in words)  # where the words go then
    assert Path("a_render.png").exists() == (words[0] == "render")


def test_help_that_nobody_reads_is_no_error(monkeypatch):
    nobody = Nobody(monkeypatch, "stdout")
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    nobody.close()


def test_an_error_that_nobody_reads_is_an_error(capsys, monkeypatch):
    nobody = Nobody(monkeypatch, "stderr")
    assert run("info", "nowhere.sad") == 2
    nobody.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_under_stdout_is_told(file, capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run("info", file) == 2
        with pytest.raises(SystemExit, match="0"):  # nothing is lost by then
            run("--help")
    assert capsys.readouterr().err == "sad-jax: error: [Errno 28] No space left on device\n"


def test_names_that_no_coding_holds_are_told(file, capsys, monkeypatch):
    name = os.fsdecode(b"\xff.png")
    words = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", words)
    assert run("render", file, "--out", name) == 0
    assert words.buffer.getvalue().startswith(b"\\udcff.png: 16x12, 9 sites")
    assert sad.read_image(name).shape == (12, 16, 3)


@pytest.mark.parametrize("words", [("info", "a.sad"), ("render", "a.sad", "--out", "r.npy")])
def test_figures_on_stdout_are_alone_there(file, capsys, words):
    assert run(*words, "--json", "f.json") == 0
    said = capsys.readouterr().out
    assert run(*words, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out).keys() == figures().keys()
    assert json.loads(out)["sites"] == 9
    assert len(err.splitlines()) == len(said.splitlines())
    assert not os.path.exists("-")


def test_a_warning_is_one_line(file, capsys, make_sites):
    """Each time; here of a picture that 8 bits cannot hold."""
    sites = make_sites(9)
    sad.save("signed.sad", sites.replace(color=2 * sites.color - 1), (12, 16))
    for _ in range(2):
        assert run("render", "signed.sad", "--out", "r.png") == 0
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("sad-jax: warning: values of -0.")
        assert lines[0].endswith("are clipped to [0, 1], .npy keeps them: r.png")


def test_a_picture_is_rendered_and_compared_in_its_own_range(capsys, make_sites):
    sites = make_sites(9)
    for low, high in ((-1, 1), (0, 1e4)):
        colors = (low + (high - low) * sites.color).astype(np.float32)
        stored = sites.replace(color=colors)
        sad.save("a.sad", stored, (12, 16))
        assert run("render", "a.sad", "--out", "a.npy") == 0
        drawn = np.array(sad.render(stored, (12, 16)))
        np.testing.assert_allclose(np.load("a.npy"), drawn, rtol=1e-6)
        noisy = np.clip(drawn + 0.01 * (high - low), low, high)
        noisy[0, 0], noisy[0, 1] = low, high
        np.save("target.npy", noisy)
        capsys.readouterr()
        words = ("--target", "target.npy", "--json", "f.json")
        assert run("render", "a.sad", "--out", "b.npy", *words) == 0
        mse = np.mean((np.load("a.npy").astype(float) - noisy) ** 2)
        expected = 10 * np.log10((high - low) ** 2 / mse)
        assert figures()["psnr"] == pytest.approx(expected, abs=1e-3)
        assert figures()["value_range"] == [low, high]
        assert f"dB on values of {low:g} to {high:g}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_signed_picture_is_fitted_in_its_own_range(photo, capsys):
    image = 4 * sad.read_image(photo) - 2
    np.save("photo.npy", image)
    assert run("fit", "photo.npy", "--sites", SITES, "--steps", 40, "--json", "f.json") == 0
    out, err = capsys.readouterr()
    low, high = float(image.min()), float(image.max())
    assert f"dB on values of {low:g} to {high:g}" in out
    assert err.splitlines() == [line for line in err.splitlines() if "clipped" in line]
    assert figures()["value_range"] == [low, high]
    drawn = np.asarray(sad.render(*sad.load("out/photo.sad")))
    expected = 10 * np.log10((high - low) ** 2 / np.mean((drawn - image) ** 2))
    assert figures()["psnr"] == pytest.approx(expected, abs=1e-3)
    assert expected > 25
