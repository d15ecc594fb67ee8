"""Files are written whole or not at all."""

import os

import pytest

from sad_jax.storage.atomic import write_bytes


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_write_bytes_follows_links_and_refuses_folders(tmp_path):
    target, link = tmp_path / "a", tmp_path / "b"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    write_bytes(os.devnull, b"gone")
    assert not os.path.isfile(os.devnull)
    with pytest.raises(ValueError, match="directory"):
        write_bytes(tmp_path, b"new")
