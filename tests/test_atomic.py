"""Files appear whole or not at all, whatever fails on the way."""

from __future__ import annotations

import errno
import os

import pytest

from dualnet import atomic


def test_write_creates_and_replaces(tmp_path):
    path = tmp_path / "file"
    atomic.write_atomically(str(path), b"one")
    atomic.write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]


def test_write_works_without_a_folder_in_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atomic.write_atomically("file", b"one")
    (tmp_path / "source").write_bytes(b"two")
    atomic.replace("source", "file")
    assert (tmp_path / "file").read_bytes() == b"two"


def test_content_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor):
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")).split(".")[0])
        sync(descriptor)

    def replace(source, target):
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    folder = tmp_path / "folder"
    folder.mkdir()
    atomic.write_atomically(str(folder / "file"), b"one")
    assert calls == ["file", "rename", "folder"]
    calls.clear()
    atomic.replace(str(folder / "file"), str(folder / "other"))
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_leaves_the_old_content_and_no_rest(tmp_path, monkeypatch, failing):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_interrupted_write_leaves_no_rest(tmp_path, monkeypatch):
    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomically(str(tmp_path / "file"), b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("code", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, code, passes):
    sync = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if passes:
        atomic.write_atomically(str(tmp_path / "file"), b"one")
    else:
        with pytest.raises(OSError, match="Input/output"):
            atomic.write_atomically(str(tmp_path / "file"), b"one")
    assert (tmp_path / "file").read_bytes() == b"one"


def test_replace_of_a_missing_file_leaves_the_target(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        atomic.replace(str(tmp_path / "gone"), str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"old"


def test_files_that_belong_together_are_written_and_replaced(tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    atomic.write_together(dict.fromkeys(paths, b"one"))
    with pytest.raises(FileExistsError) as raised:
        atomic.write_together({str(tmp_path / "c"): b"two", paths[1]: b"two"})
    assert raised.value.filename == paths[1]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    atomic.write_together(dict.fromkeys(paths, b"two"), force=True)
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"two", b"two"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("failing", range(6))
def test_files_that_belong_together_all_stay_as_they_were(tmp_path, monkeypatch, failing):
    (tmp_path / "a").write_bytes(b"old")
    calls = []
    rename = os.replace

    def replace(source, target):
        calls.append(target)
        if len(calls) == failing + 1:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    contents = {str(tmp_path / name): b"new" for name in "abc"}
    with pytest.raises(OSError, match="Input/output"):
        atomic.write_together(contents, force=True)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    path = tmp_path / "snapshot"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        next(atomic.read_blocks(str(path)))
