"""Opening names that somebody else may have put there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dualnet.exchange.disk.safefile import Damaged, open_regular, read_small
from dualnet.fs import Fs


def test_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(Damaged, match="regular"):
        read_small(Fs(), str(tmp_path / "link"), 10)


def test_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Damaged, match="regular"):
        read_small(Fs(), str(tmp_path / "fifo"), 10)


def test_directory_and_socket(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Damaged, match="regular"):
        read_small(Fs(), str(tmp_path / "folder"), 1 << 20)
    place = os.getcwd()
    os.chdir(tmp_path)  # a socket's path has to be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
            with pytest.raises(Damaged, match="regular"):
                read_small(Fs(), "socket", 10)
    finally:
        os.chdir(place)


def test_other_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(Damaged, match="12345"):
        read_small(Fs(), str(tmp_path / "file"), 10)


def test_sizes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_small(Fs(), str(path), 3) == b"abc"
    with pytest.raises(Damaged, match="at most 2"):
        read_small(Fs(), str(path), 2)
    with pytest.raises(Damaged, match="expected 4"):
        open_regular(Fs(), str(path), 4, exact=True)


def test_a_growing_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    class Growing(Fs):
        def pread(self, fd: int, count: int, offset: int) -> bytes:
            with open(path, "ab") as file:
                file.write(b"x" * 100)
            return super().pread(fd, count, offset)

    with pytest.raises(Damaged, match="grew"):
        read_small(Growing(), str(path), 50)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    before = len(os.listdir("/proc/self/fd"))
    for limit in (2, 3):
        for _ in range(5):
            try:
                read_small(Fs(), str(tmp_path / "file"), limit)
            except Damaged:
                pass
    assert len(os.listdir("/proc/self/fd")) == before
