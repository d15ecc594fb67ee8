"""Files are written whole or not at all, and stay what they were but for their bytes."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import sad_jax
from sad_jax.storage import atomic
from sad_jax.storage.atomic import DRAFT, check_place, remove_drafts, write_bytes


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("call", ["replace", "fsync", "chmod"])
def test_a_failing_write_leaves_the_old_file_and_is_named(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "a draft")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_bytes(path, b"new")
    assert error.value.filename == str(path)
    assert "a draft" not in str(error.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_links_are_followed(tmp_path):
    """Also from link to link, to a file that is not there yet, and into another folder."""
    (tmp_path / "far").mkdir()
    target, link, second = tmp_path / "far" / "a", tmp_path / "b", tmp_path / "c"
    link.symlink_to(Path("far") / "a")
    second.symlink_to("b")
    for data in (b"first", b"second"):
        write_bytes(second, data)
        assert second.is_symlink()
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert os.listdir(tmp_path / "far") == ["a"]


def test_folders_are_refused(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for path in (tmp_path, link):
        with pytest.raises(ValueError, match="directory"):
            write_bytes(path, b"new")
    with pytest.raises(ValueError, match="expected a folder to write into, got no such folder"):
        write_bytes(tmp_path / "none" / "a", b"new")


@pytest.mark.parametrize("old", [0o600, 0o604, 0o640, 0o755, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path, monkeypatch, old):
    path, seen = tmp_path / "a", []
    write_bytes(path, b"old")
    path.chmod(old)
    chmod = os.chmod

    def watched(draft, new):
        seen.append(mode(draft))
        chmod(draft, new)

    monkeypatch.setattr(os, "access", lambda *_: True)  # 0o444, for whoever runs the tests
    monkeypatch.setattr(os, "chmod", watched)
    write_bytes(path, b"new")
    assert mode(path) == old
    assert path.read_bytes() == b"new"
    assert not seen[0] & ~old  # no wider in between


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_obeys_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o666 & ~mask


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o2640)
    write_bytes(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 4321, 0o2640)


def test_what_lies_in_memory_is_a_file_like_any_other():
    """Not what a path begins with decides, but what it is."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for data in (b"a longer first one", b"second"):
            write_bytes(f"{folder}/a", data)
            assert Path(folder, "a").read_bytes() == data
        assert os.listdir(folder) == ["a"]


def test_devices_and_pipes_are_written_to(tmp_path):
    write_bytes(os.devnull, b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join()
    assert found == [b"through"]
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            write_bytes("/dev/full", b"too much")


@pytest.mark.parametrize("to", ["file", "pipe"])
def test_standard_output_is_gone_on_with_wherever_it_goes(tmp_path, to):
    program = (
        "from sad_jax.storage.atomic import write_bytes\n"
        "print('before')\nwrite_bytes('/dev/stdout', b'bytes\\n')\nprint('after')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(sad_jax.__file__).parents[1])}
    command = [sys.executable, "-c", program]
    if to == "pipe":
        out = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    else:
        with open(tmp_path / "out", "wb") as stream:
            subprocess.run(command, env=environment, stdout=stream, check=True)
        out = (tmp_path / "out").read_bytes()
    assert out == b"before\nbytes\nafter\n"


@pytest.mark.parametrize("letter", ["a", "ä", "漢"])
def test_names_up_to_the_limit_of_the_file_system_work(tmp_path, letter):
    most = os.pathconf(tmp_path, "PC_NAME_MAX") // len(letter.encode())
    for _ in range(2):
        write_bytes(tmp_path / (letter * most), b"data")
    assert (tmp_path / (letter * most)).read_bytes() == b"data"
    size = len(letter.encode()) * (most + 1)
    for refuse in (check_place, lambda path: write_bytes(path, b"data")):
        with pytest.raises(ValueError, match=f"expected a shorter name .*, got one of {size} byte"):
            refuse(tmp_path / (letter * (most + 1)))


def test_a_path_too_long_for_a_draft_is_refused_beforehand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    most = os.pathconf("/", "PC_PATH_MAX") - 1
    folder = str(tmp_path)
    while len(folder) < most - 220:
        name = "d" * 200
        os.mkdir(name)
        os.chdir(name)
        folder += f"/{name}"
    check_place(f"{folder}/a")
    name = "d" * (most - len(folder) - 10)
    os.mkdir(name)
    with pytest.raises(ValueError, match="expected a shorter name"):
        check_place(f"{folder}/{name}/a")  # which would fit, but no draft beside it


def test_what_may_not_be_written_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    readable = {str(path): "file to write, got a read-only one", str(tmp_path): "read-only one"}
    for place, message in readable.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda p, _, place=place: str(p) != place)
            with pytest.raises(ValueError, match=message):
                write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_drafts_of_killed_processes_are_removed(tmp_path):
    old, young = (tmp_path / DRAFT.format(n) for n in ("1", "2"))
    foreign = tmp_path / ".other.tmp"
    for path in (old, young, foreign):
        path.write_bytes(b"half")
    past = time.time() - 2 * atomic.ABANDONED
    for path in (old, foreign):
        os.utime(path, (past, past))
    remove_drafts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([young, foreign])
