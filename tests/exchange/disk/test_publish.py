"""Publishing: whole or not at all, whatever single operation fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.paths import RunPaths
from tests.exchange.fakes import FaultyFs, ShortFs, VirtualFs

OLD = b"old" * 30
NEW = b"new content " * 20


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_replace_and_create(tmp_path: Path) -> None:
    publisher = Publisher(VirtualFs(), RunPaths(str(tmp_path)), "net1", 1)
    target = tmp_path / "target"
    publisher.replace(str(target), OLD, sync=True)
    publisher.replace(str(target), NEW, sync=False)
    assert target.read_bytes() == NEW
    assert publisher.create(str(target), OLD) is False
    assert target.read_bytes() == NEW
    assert publisher.create(str(tmp_path / "other"), OLD) is True
    assert names(tmp_path) == ["other", "target"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_short_writes(tmp_path: Path) -> None:
    publisher = Publisher(ShortFs(), RunPaths(str(tmp_path)), "net1", 1)
    publisher.replace(str(tmp_path / "target"), NEW, sync=True)
    assert (tmp_path / "target").read_bytes() == NEW


def test_a_write_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    class Lazy(VirtualFs):
        def write(self, fd: int, data: object) -> int:
            return 0

    publisher = Publisher(Lazy(), RunPaths(str(tmp_path)), "net1", 1)
    with pytest.raises(OSError, match="no bytes"):
        publisher.replace(str(tmp_path / "target"), NEW, sync=True)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("verb", ["replace", "create"])
def test_fault_at_each_operation(tmp_path: Path, verb: str, sync: bool, error: int) -> None:
    """The target is old or new after a fault, and a second try brings the new."""
    root = tmp_path / "exchange"
    root.mkdir()
    fs = FaultyFs()
    publisher = Publisher(fs, RunPaths(str(root)), "net1", 1)
    target = root / "target"
    fail_at = 0
    while True:
        target.write_bytes(OLD)
        if verb == "create":
            target.unlink()
        fs.arm(fail_at, error)
        try:
            getattr(publisher, verb)(str(target), NEW, sync)
            failed = False
        except OSError as raised:
            assert raised.errno == error
            failed = True
        before = target.read_bytes() if target.exists() else b""
        assert before in (OLD if verb == "replace" else b"", NEW)
        assert failed or before == NEW
        if not fs.failed:
            break
        if not failed or fs.log[fail_at] != "unlink":
            # Nothing is left behind, but where removing it is what failed.
            left = [name for name in names(root) if name.startswith(".tmp")]
            assert not left or fs.log[fail_at] == "unlink"
        fs.disarm()
        getattr(publisher, verb)(str(target), NEW, sync)
        assert target.read_bytes() == NEW
        for name in names(root):
            (root / name).unlink()
        fail_at += 1
    assert fail_at >= 5


def test_fsync_is_never_repeated_on_one_file(tmp_path: Path) -> None:
    fs = FaultyFs()
    publisher = Publisher(fs, RunPaths(str(tmp_path)), "net1", 1)
    fs.arm(0, errno.EIO, only="fsync")
    with pytest.raises(OSError):
        publisher.replace(str(tmp_path / "target"), NEW, sync=True)
    assert fs.log == ["fsync"]
    assert names(tmp_path) == []


def test_rename_done_but_reported_as_failed(tmp_path: Path) -> None:
    class LostReply(VirtualFs):
        def rename(self, source: str, target: str) -> None:
            super().rename(source, target)
            raise FileNotFoundError(errno.ENOENT, "lost reply")

    publisher = Publisher(LostReply(), RunPaths(str(tmp_path)), "net1", 1)
    publisher.replace(str(tmp_path / "target"), NEW, sync=True)
    assert (tmp_path / "target").read_bytes() == NEW


def test_rename_reported_as_failed_over_other_content(tmp_path: Path) -> None:
    class ConnectionLost(VirtualFs):
        def rename(self, source: str, target: str) -> None:
            raise FileNotFoundError(errno.ENOENT, "really failed")

    (tmp_path / "target").write_bytes(OLD)
    publisher = Publisher(ConnectionLost(), RunPaths(str(tmp_path)), "net1", 1)
    with pytest.raises(FileNotFoundError):
        publisher.replace(str(tmp_path / "target"), NEW, sync=True)
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("error", [errno.EEXIST, errno.EIO])
def test_link_done_but_reported_as_failed(tmp_path: Path, error: int) -> None:
    class LostReply(VirtualFs):
        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            raise OSError(error, "lost reply")

    publisher = Publisher(LostReply(), RunPaths(str(tmp_path)), "net1", 1)
    assert publisher.create(str(tmp_path / "target"), NEW) is True
    assert names(tmp_path) == ["target"]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    fs = FaultyFs()
    publisher = Publisher(fs, RunPaths(str(tmp_path)), "net1", 1)
    before = len(os.listdir("/proc/self/fd"))
    for fail_at in range(12):
        fs.arm(fail_at, errno.EIO)
        try:
            publisher.replace(str(tmp_path / "target"), NEW, sync=True)
        except OSError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before
