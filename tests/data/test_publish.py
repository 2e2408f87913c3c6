"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from dualnet.data import publish as module
from dualnet.data.publish import new_directory, new_file, publish, scratch_directory, storage_error
from dualnet.errors import StorageFailed, UsageError


def test_a_directory_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "dir"
    with new_directory(path) as temporary:
        (temporary / "file").write_text("x")
        assert not path.exists()
    assert (path / "file").read_text() == "x"
    assert os.listdir(tmp_path / "deep") == ["dir"]
    assert path.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("make", [new_directory, new_file])
def test_an_error_leaves_nothing(make, tmp_path):
    with pytest.raises(KeyError), make(tmp_path / "x") as temporary:
        if make is new_file:
            temporary.write_text("half")
        raise KeyError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("make", [new_directory, new_file])
def test_what_came_in_the_meantime_stays(make, tmp_path):
    with pytest.raises(UsageError, match="exists already"), make(tmp_path / "x") as temporary:
        if make is new_file:
            temporary.write_text("mine")
        (tmp_path / "x").write_text("theirs")
    assert (tmp_path / "x").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("old", ["file", "directory", "link"])
def test_force_replaces_anything(old, tmp_path):
    path = tmp_path / "x"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    if old == "file":
        path.write_text("old")
    elif old == "directory":
        path.mkdir()
        (path / "old").write_text("old")
    else:
        path.symlink_to(elsewhere)
    if old == "link":  # a link is replaced itself, never what it points to
        with new_file(path, force=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new" and not path.is_symlink()
    else:
        with scratch_directory(path) as scratch:
            (scratch / "new").write_text("new")
            if old == "file":
                with pytest.raises(StorageFailed, match="Not a directory"):
                    publish(scratch, path, force=True)
                return
            publish(scratch, path, force=True)
        assert os.listdir(path) == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "x"]
    assert (elsewhere / "kept").read_text() == "x"


def test_a_failed_rename_puts_the_old_directory_back(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.mkdir()
    (path / "old").write_text("old")
    rename = os.rename

    def fail_second(source, target):
        if str(target) == str(path) and not str(source).endswith("aside"):
            monkeypatch.setattr(module.os, "rename", rename)
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", fail_second)
    with pytest.raises(StorageFailed, match="Input/output error"), new_directory(path, force=True):
        pass
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["x"]


def test_the_remedy_fits_the_error(tmp_path):
    full = storage_error(tmp_path, "write", OSError(errno.ENOSPC, "No space left on device"))
    assert "No space left on device" in str(full) and "free some space" in str(full)
    denied = storage_error(tmp_path / "no" / "such", "write", OSError(errno.EACCES, "denied"))
    assert "check the path and its permissions" in str(denied) and "MiB are free" in str(denied)


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    inside = tmp_path / "file" / "x"
    with pytest.raises(StorageFailed, match="cannot make the directory"), new_directory(inside):
        pass
    with pytest.raises(StorageFailed, match="cannot write"), new_file(inside):
        pass
