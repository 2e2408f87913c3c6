"""Names that turn out to be no regular file, and files that are too long."""

from __future__ import annotations

import os

import pytest

from dualnet.engine.formats import regular_file


def read(path):
    with open(path, "rb", opener=regular_file.regular_only) as file:
        return file.read(8)


def test_regular_files_and_links_to_them(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read(tmp_path / "file") == read(tmp_path / "link") == b"content"


@pytest.mark.parametrize("mode", ["rb", "ab", "wb"])
@pytest.mark.parametrize("kind", ["fifo", "device", "link to a device"])
def test_what_would_block_or_never_end(tmp_path, mode, kind):
    path = tmp_path / "name"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path = "/dev/zero"
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="not a regular file"):
        open(path, mode, opener=regular_file.regular_only)  # noqa: SIM115 (never opened)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory(tmp_path):
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_appending_makes_the_file(tmp_path):
    for _ in range(2):
        with open(tmp_path / "log", "ab", opener=regular_file.regular_only) as file:
            file.write(b"line\n")
    assert read(tmp_path / "log") == b"line\nlin"


def test_a_file_that_is_almost_all_hole_is_not_read(tmp_path):
    """A terabyte of nothing; a copy with holes for its zeros is a file like others."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    os.truncate(path, 1 << 40)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="1099511627776 bytes long, and almost all of it is a hole"):
        read(path)
    assert len(os.listdir("/proc/self/fd")) == before
    with open(path, "ab", opener=regular_file.regular_only) as file:
        file.write(b"appending reads nothing")
    os.truncate(path, 1 << 29)
    with open(path, "r+b") as file:
        for at in range(0, 1 << 29, 1 << 26):
            file.seek(at)
            file.write(bytes(1 << 17))
    assert read(path) == bytes(8)


def test_at_most(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert regular_file.read_at_most(str(path), 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes"):
        regular_file.read_at_most(str(path), 4)
    os.truncate(path, 1 << 40)  # a terabyte of nothing
    with pytest.raises(OSError, match="longer than 4 bytes"):
        regular_file.read_at_most(str(path), 4)
