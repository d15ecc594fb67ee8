"""A folder of photographs: names, what is done, what is foreign or of other settings."""

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import sad_jax as sad
from sad_jax import cli
from sad_jax.commands import folder as folder_command

FIGURES = {"psnr": 20.0, "ssim": 0.5, "sites": 9, "bpp": 1.0, "seconds": 2.0}


@pytest.fixture(autouse=True)
def album(tmp_path, monkeypatch):
    """Each test stands in a folder of its own, beside an album of two pictures."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("album")
    for name in ("a.png", "b.png"):
        sad.write_image(f"album/{name}", np.full((4, 5, 3), 0.5))


@pytest.fixture
def fitted(monkeypatch) -> list[str]:
    """The names of what is fitted; nothing really is."""
    names = []

    def fit_photo(args, photo):
        names.append(photo.name)
        os.makedirs(args.out, exist_ok=True)
        Path(args.out, f"{photo.stem}.sad").write_bytes(b"")
        return FIGURES | {"height": 4, "width": 5}, False

    monkeypatch.setattr(folder_command, "fit_photo", fit_photo)
    return names


def run(*words) -> int:
    return cli.main(["fit", "album", *map(str, words)])


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("a_tau.png", (), "got a.png and a_tau.png, which both write out/a_tau.png"),
        ("a.npy", (), "got a.npy and a.png, which both write out/a.sad"),
        ("a.ckpt.png", ("--json", "out/b.json"), "got --json and b.png, which both write out/b.js"),
    ],
)
def test_names_are_checked_against_each_other_before_any_work(
    fitted, capsys, name, words, expected
):
    sad.write_image(f"album/{name}", np.full((4, 5, 3), 0.5))
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("sad-jax: error: expected pictures whose files get names of their own")
    assert expected in err
    assert not fitted


@pytest.mark.parametrize("ignores", [True, False])
def test_case_counts_where_the_file_system_says_so(fitted, capsys, monkeypatch, ignores):
    sad.write_image("album/A.png", np.full((4, 5, 3), 0.5))
    if {"A.png", "a.png"} > set(os.listdir("album")):
        pytest.skip("this file system ignores case")
    monkeypatch.setattr(folder_command, "_ignores_case", lambda _: ignores)
    assert run() == (2 if ignores else 0)
    assert fitted == ([] if ignores else ["A.png", "a.png", "b.png"])
    assert ("got A.png and a.png" in capsys.readouterr().err) == ignores


def test_what_is_done_is_skipped(fitted, capsys):
    assert run("--steps", 3) == 0
    assert fitted == ["a.png", "b.png"]
    first = capsys.readouterr().out
    Path("out/b.json").unlink()
    assert run("--steps", 3) == 0
    assert fitted == ["a.png", "b.png", "b.png"]
    assert capsys.readouterr() == (first, "")
    Path("out/a.sad").unlink()
    assert run("--steps", 3) == 0
    assert fitted[3:] == ["a.png"]


def test_a_zarr_array_is_a_picture_of_a_folder(fitted, capsys):
    zarr = pytest.importorskip("zarr")
    os.mkdir("album/folder")
    array = zarr.create_array("album/c.zarr", data=np.full((4, 5), 7, np.uint8), chunks=(2, 5))
    for _ in range(2):
        assert run("--sites", 4) == 0
        assert fitted == ["a.png", "b.png", "c.zarr"]
    array[3] = 9
    assert run("--sites", 4) == 2
    assert "expected results of the same picture and settings, got another picture" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--steps", 4), "steps"),
        (("--sites", 7), "num_sites"),
        (("--recipe", "paper"), "recipe"),
        (("--seed", 1), "seed"),
        (("--k", 4, "--cell", 2), "k, cell"),
    ],
)
def test_results_of_other_settings_are_refused_unless_forced(fitted, capsys, words, name):
    assert run() == 0
    capsys.readouterr()
    assert run(*words) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert (
        f"the same picture and settings, got another {name} (--force fits again): out/a" in err[0]
    )
    assert fitted == ["a.png", "b.png"]
    assert run(*words, "--force") == 0
    assert fitted[2:] == ["a.png", "b.png"]
    assert run(*words) == 0
    assert len(fitted) == 4
    assert run(*words, "--force", "--resume") == 0  # an interrupted run goes on
    assert len(fitted) == 4
    assert run(*words, "--force") == 0
    assert len(fitted) == 6


def test_results_of_another_picture_are_refused(fitted, capsys):
    assert run() == 0
    sad.write_image("album/a.png", np.full((4, 5, 3), 0.2))
    assert run() == 2
    assert "got another picture (--force fits again): out/a.json" in capsys.readouterr().err
    assert fitted == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "\xff\xfe", "{}", "[" * 100_000, json.dumps(FIGURES), '{"fit": {}}'],
)
def test_foreign_figures_are_told_and_replaced(fitted, capsys, text):
    os.mkdir("out")
    Path("out/a.json").write_text(text, encoding="latin-1")
    assert run() == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "warning: expected figures of a fit, got something else, now replaced: out/a.json" in err
    assert fitted == ["a.png", "b.png"]
    assert run() == 0
    assert fitted == ["a.png", "b.png"]


def test_memory_is_freed_after_a_few_kinds_of_fits(monkeypatch):
    from sad_jax.commands import runtime

    cleared = []
    monkeypatch.setattr("jax.clear_caches", lambda: cleared.append(1))
    programs = runtime.Programs()
    for kind in (0, 1, 1, 2, 0, 3, 3):
        programs.used(kind)
    assert not cleared
    programs.used(4)
    assert len(cleared) == 1
    for kind in range(runtime.MOST_KINDS):
        programs.used(kind)
    assert len(cleared) == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["--workers", "--cluster"])
def test_workers_fit_each_picture_once_though_one_is_killed(capsys, where):
    for name in ("c.png", "d.png"):
        sad.write_image(f"album/{name}", np.full((4, 5, 3), 0.25))
    Path("album/e.png").write_bytes(b"no picture")
    words = ["--sites", 4, "--k", 4, "--steps", 6, "--json", "rows.json"]
    if where == "--workers":
        killer = threading.Thread(target=kill_a_child, args=("out/a.json",))
        killer.start()
        assert run(*words, where, 2) == 2
        killer.join()
    else:
        distributed = pytest.importorskip("distributed")
        with distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
            assert run(*words, where, cluster.scheduler_address) == 2
    out, err = capsys.readouterr()
    rows = json.loads(Path("rows.json").read_text())
    assert list(rows) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert "error" in rows.pop("e.png")
    assert "error: " in err
    assert "e.png" in err
    for name, row in rows.items():
        stem = Path("out", name).with_suffix("")
        sites, _ = sad.load(f"{stem}.sad")
        assert row["sites"] == sites.num_sites == 4
        assert sum(line.split()[0] == name for line in out.splitlines()) == 1  # of the table
        assert not stem.with_suffix(".ckpt").exists()


def kill_a_child(path: str) -> None:
    """Kills a process of ours as soon as a file is there."""
    while not Path(path).exists():
        time.sleep(0.01)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


@pytest.mark.parametrize("words", [("--workers", 2), ("--cluster", "tcp://nowhere:1")])
def test_workers_are_for_folders(capsys, words):
    assert cli.main(["fit", "album/a.png", *map(str, words)]) == 2
    expected = f"sad-jax: error: expected a folder with {words[0]}, got album/a.png\n"
    assert capsys.readouterr().err == expected
