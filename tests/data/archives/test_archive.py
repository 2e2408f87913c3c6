"""Archives that lie about what is in them."""

from __future__ import annotations

import gzip
import io
import resource
import tarfile
import zipfile

import numpy as np
import pytest

from dualnet.data.archives import archive
from dualnet.data.sets.cats_dogs import read_cats_dogs
from dualnet.data.sets.cifar10 import BINARY, read_cifar10
from dualnet.errors import ConfigError

BATCH = f"{BINARY.folder}/data_batch_1.bin"


@pytest.fixture(autouse=True)
def _little_memory():
    """Half a gigabyte more than there is now: what takes a bomb at its word fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def header(name, size, kind=tarfile.REGTYPE):
    """A member's first 512 bytes, whatever follows."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def zeros(path, begin, count):
    """A gzip file of `begin` and `count` zeros, which take a thousandth of that."""
    with gzip.open(path, "wb", compresslevel=6) as file:
        file.write(begin)
        block = bytes(1 << 20)
        for _ in range(count >> 20):
            file.write(block)


@pytest.mark.parametrize("size", [1 << 40, (1 << 62) + 1])
def test_a_false_size(tmp_path, size):
    path = tmp_path / "cifar.tar"
    path.write_bytes(header(BATCH, size) + bytes(2048))
    with pytest.raises(ConfigError, match="cifar.tar"):
        read_cifar10(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("read", ["cifar10", "cats_dogs"])
def test_a_header_of_a_gigabyte(tmp_path, kind, read):
    path = tmp_path / "bomb.tar.gz"
    zeros(path, header("x", 1 << 30, kind), 4 << 20)
    with pytest.raises(ConfigError, match="bomb.tar.gz.*a header of [0-9]+ bytes, at most"):
        read_cifar10(path) if read == "cifar10" else read_cats_dogs(path, tmp_path)


def test_a_member_that_expands(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    zeros(path, header(BATCH, 96 << 20), 96 << 20)
    with pytest.raises(ConfigError, match="data_batch_1.bin is longer than 67108864 bytes"):
        read_cifar10(path)


def test_an_archive_that_expands(tmp_path, monkeypatch):
    monkeypatch.setattr("dualnet.data.sets.cifar10._LARGEST_ARCHIVE", 1 << 22)
    path = tmp_path / "cifar.tar.gz"
    zeros(path, header("other", 64 << 20), 64 << 20)
    with pytest.raises(ConfigError, match="expands to more than 4194304 bytes"):
        read_cifar10(path)


def test_pictures_that_expand_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr("dualnet.data.sets.cats_dogs._LARGEST_PICTURE", 1 << 20)
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("cat.0.jpg", bytes(64 << 20))
    lines = []
    with pytest.raises(ConfigError, match="no photograph of a cat"):
        read_cats_dogs(path, tmp_path, log=lines.append)
    assert "skipped cat.0.jpg: cat.0.jpg is longer than 1048576 bytes" in lines


def test_sparse_members(tmp_path):
    """GNU tar stores the holes of a sparse file as numbers, which can be any."""
    path = tmp_path / "cifar.tar"
    content = bytearray(header(BATCH, 0, tarfile.GNUTYPE_SPARSE))
    content[386:398] = content[483:495] = b"%011o\0" % (1 << 32)  # offset of nothing, real size
    content[398:410] = b"%011o\0" % 0
    content[148:156] = b"        "
    content[148:156] = b"%06o\0 " % sum(content)
    path.write_bytes(bytes(content) + bytes(2048))
    with pytest.raises(ConfigError, match="is longer than 67108864 bytes"):
        read_cifar10(path)


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz"])
def test_honest_archives(tmp_path, ending):
    path = tmp_path / f"good.tar{ending}"
    with tarfile.open(path, f"w:{ending[1:]}") as packed:
        for name in ("a", "b" * 300):
            member = tarfile.TarInfo(name)
            member.size = 3
            packed.addfile(member, io.BytesIO(b"abc"))
    with archive.open_tar(path, 1 << 20) as opened:
        found = {m.name: archive.read_limited(opened.extractfile(m), 3, m.name) for m in opened}
    assert found == {"a": b"abc", "b" * 300: b"abc"}


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", "zip"])
def test_any_damage_of_an_archive_is_one_line(tmp_path, ending):
    whole = tmp_path / "whole"
    if ending == "zip":
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("cat.0.jpg", bytes(2000))
    else:
        with tarfile.open(whole, f"w:{ending[1:]}") as packed:
            member = tarfile.TarInfo(BATCH)
            member.size, member.pax_headers = 2000, {"comment": "x" * 600}
            packed.addfile(member, io.BytesIO(bytes(2000)))
    content = whole.read_bytes()
    random = np.random.RandomState(3)
    for _ in range(60):
        damaged = bytearray(content)
        for at in random.randint(0, len(content), random.randint(1, 5)):
            damaged[at] = random.randint(256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged[: random.randint(1, len(content) + 1)])
        for read in (read_cifar10, lambda path: read_cats_dogs(path, tmp_path)):
            with pytest.raises(ConfigError) as caught:
                read(path)
            assert "\n" not in str(caught.value)
