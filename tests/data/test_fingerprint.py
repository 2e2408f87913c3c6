"""What data hold, in a line: equal for what was moved or made again, another for what changed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time

import lmdb
import numpy as np
import pytest

from dualnet.data import fingerprint
from dualnet.data.databases.lmdb import write_lmdb

COUNT = 200


def images(seed=1, count=COUNT):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 1, 6, 6), np.uint8), rng.integers(0, 10, count)


def database(path, pictures, labels):
    write_lmdb(path, pictures, labels)
    return fingerprint.of_database(str(path))


def test_a_database_is_what_its_records_are(tmp_path):
    pictures, labels = images()
    line = database(tmp_path / "a", pictures, labels)
    assert line.startswith(f"{COUNT} records, SHA-256 of some ") and len(line.split()[-1]) == 64
    assert database(tmp_path / "b", pictures, labels) == line
    shutil.move(tmp_path / "b", tmp_path / "c")
    assert fingerprint.of_database(str(tmp_path / "c")) == line
    assert fingerprint.of_database(str(tmp_path / "c" / "data.mdb")) == line
    # The same records in other pages: written one at a time, and twice.
    with lmdb.open(str(tmp_path / "a"), readonly=True, lock=False) as env, env.begin() as reading:
        records = list(reading.cursor())
    for record in (*records, *records):
        put(tmp_path / "d", [record])
    assert fingerprint.of_database(str(tmp_path / "d")) == line
    assert (tmp_path / "a/data.mdb").read_bytes() != (tmp_path / "d/data.mdb").read_bytes()


def put(path, records):
    """Add records to a database in one transaction."""
    env = lmdb.open(str(path), map_size=1 << 29, lock=False, sync=False)
    with env, env.begin(write=True) as transaction:
        for key, value in records:
            transaction.put(key, value)


def other_first(pictures, labels):
    labels[0] += 1


def other_last(pictures, labels):
    pictures[-1, 0, 0, 0] ^= 1


def shuffled(pictures, labels):
    order = np.random.default_rng(5).permutation(len(labels))
    pictures[...], labels[...] = pictures[order], labels[order]


def brighter(pictures, labels):
    pictures //= 2


@pytest.mark.parametrize("change", [other_first, other_last, shuffled, brighter])
def test_another_content_is_another_line(tmp_path, change):
    pictures, labels = images()
    line = database(tmp_path / "a", pictures, labels)
    change(pictures, labels)
    assert database(tmp_path / "b", pictures, labels) != line
    assert database(tmp_path / "c", *(part[:-1] for part in images())) != line


def test_small_databases_are_seen_whole(tmp_path):
    pictures, labels = images(count=60)
    line = database(tmp_path / "whole", pictures, labels)
    for number in range(60):
        labels[number] += 1
        assert database(tmp_path / str(number), pictures, labels) != line
        labels[number] -= 1


@pytest.mark.parametrize("keys", [
    [b"%08d_%d.jpg" % (i, i * i) for i in range(500)],
    [b"%d" % i for i in range(500)],
    [os.urandom(7) for _ in range(500)],
    [b"", b"a"], [b"a", b"b"], [b"7"],
])  # fmt: skip
def test_keys_of_any_kind(tmp_path, keys):
    keys = sorted(set(keys) - {b""})
    put(tmp_path, [(key, key * 3) for key in keys])
    line = fingerprint.of_database(str(tmp_path))
    assert line.startswith(f"{len(keys)} records")
    # The records that are looked at lie everywhere.
    seen = fingerprint._between(keys[0], keys[-1])
    parts = {min(3, 4 * sum(key < one for key in keys) // len(keys)) for one in seen}
    assert len(keys) < 9 or parts == {0, 1, 2, 3}


def test_a_large_database_is_looked_at_in_no_time(tmp_path):
    value = os.urandom(200_000)
    put(tmp_path, [(b"%08d" % number, value) for number in range(1000)])
    assert os.path.getsize(tmp_path / "data.mdb") > 190 << 20
    start = time.process_time()
    fingerprint.of_database(str(tmp_path))
    assert time.process_time() - start < 0.5


def test_what_cannot_be_read_says_so(tmp_path):
    for look in (
        fingerprint.of_file, fingerprint.of_database, fingerprint.of_hdf5_list,
        lambda path: fingerprint.of_image_list(path, ""),
        lambda path: fingerprint.of_window_file(path, ""),
    ):  # fmt: skip
        assert look(str(tmp_path / "nothing")) == "missing"
    assert fingerprint.of_database(str(tmp_path)) == "missing"
    os.mkfifo(tmp_path / "fifo")
    assert fingerprint.of_file(str(tmp_path / "fifo")) == "unreadable (not a regular file)"
    assert fingerprint.of_file("/dev/zero") == "unreadable (not a regular file)"
    os.mkfifo(tmp_path / "data.mdb")
    assert fingerprint.of_database(str(tmp_path)) == "unreadable (not a regular file)"
    os.unlink(tmp_path / "data.mdb")
    (tmp_path / "data.mdb").write_bytes(b"x" * 9000)
    assert fingerprint.of_database(str(tmp_path)).startswith("damaged (")
    assert fingerprint.of_hdf5_list(str(write(tmp_path / "list", b"a.h5\n"))) == "missing"


@pytest.mark.parametrize("look", ["of_file", "of_database", "of_hdf5_list"])
def test_a_failing_disk_makes_no_other_data(tmp_path, monkeypatch, look):
    write(tmp_path / "data.mdb", b"x")

    def fail(*arguments, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        getattr(fingerprint, look)(str(tmp_path / "data.mdb"))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def photographs(root, count=40, seed=3):
    chance = random.Random(seed)
    for number in range(count):
        write(root / f"{number % 2}" / f"{number}.jpg", chance.randbytes(300))


def listed(root, prefix, count=40):
    lines = "".join(f"{prefix}{n % 2}/{n}.jpg {n % 2}\n" for n in range(count))
    return str(write(root, lines.encode()))


def test_a_list_of_images_is_its_entries_and_some_images(tmp_path):
    photographs(tmp_path / "one")
    line = fingerprint.of_image_list(listed(tmp_path / "a", f"{tmp_path}/one/"), "")
    assert line.startswith("40 lines, SHA-256 ")
    assert fingerprint.of_image_list(listed(tmp_path / "b", "one/"), f"{tmp_path}/") == line
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert fingerprint.of_image_list(listed(tmp_path / "a", f"{tmp_path}/two/"), "") == line
    assert fingerprint.of_image_list(listed(tmp_path / "c", ""), f"{tmp_path}/two/") == line
    again = listed(tmp_path / "a", f"{tmp_path}/two/")
    for old, new in ((b"/7.jpg 1", b"/7.jpg 0"), (b"1/7.jpg", b"0/7.jpg"), (b"39.jpg 1\n", b"")):
        content = (tmp_path / "a").read_bytes()
        assert fingerprint.of_image_list(again, "") == line
        (tmp_path / "a").write_bytes(content.replace(old, new))
        assert fingerprint.of_image_list(again, "") != line
        (tmp_path / "a").write_bytes(content)
    (tmp_path / "two/1/39.jpg").write_bytes(b"other")
    assert fingerprint.of_image_list(again, "") != line


def windows(path, prefix, overlap="0.7"):
    text = "".join(f"# {n}\n{prefix}{n}.jpg\n3\n20\n20\n1\n5 {overlap} 1 2 9 9\n" for n in range(9))
    return str(write(path, text.encode()))


def test_a_window_file_is_its_windows_and_some_images(tmp_path):
    for number in range(9):
        write(tmp_path / "one" / f"{number}.jpg", b"%d" % number)
    line = fingerprint.of_window_file(windows(tmp_path / "a", f"{tmp_path}/one/"), "")
    assert line.startswith("9 images, SHA-256 ")
    assert fingerprint.of_window_file(windows(tmp_path / "b", "one/"), str(tmp_path)) == line
    assert fingerprint.of_window_file(windows(tmp_path / "b", "one/", "0.6"), str(tmp_path)) != line
    (tmp_path / "one/8.jpg").write_bytes(b"other")
    assert fingerprint.of_window_file(windows(tmp_path / "b", "one/"), str(tmp_path)) != line


def test_a_list_of_hdf5_files_is_their_content(tmp_path):
    large = random.Random(7).randbytes(3 << 20)
    for name, content in (("x.h5", b"first"), ("y.h5", large)):
        write(tmp_path / name, content)
    path = str(write(tmp_path / "list", f"{tmp_path}/x.h5\n{tmp_path}/y.h5\n".encode()))
    line = fingerprint.of_hdf5_list(path)
    assert line.startswith("2 files, SHA-256 of parts ")
    (tmp_path / "other").mkdir()
    for name in ("x.h5", "y.h5"):
        shutil.move(tmp_path / name, tmp_path / "other" / name)
    write(tmp_path / "list", f"{tmp_path}/other/x.h5 {tmp_path}/other/y.h5".encode())
    assert fingerprint.of_hdf5_list(path) == line
    for name, content in (("x.h5", b"First"), ("y.h5", large[:-1]), ("y.h5", b"x" + large[1:])):
        before = (tmp_path / "other" / name).read_bytes()
        write(tmp_path / "other" / name, content)
        assert fingerprint.of_hdf5_list(path) != line
        write(tmp_path / "other" / name, before)
    write(tmp_path / "list", f"{tmp_path}/other/y.h5 {tmp_path}/other/x.h5".encode())
    assert fingerprint.of_hdf5_list(path) != line


def test_a_leveldb_is_its_tables_and_not_when_it_was_made(tmp_path):
    for place, log in (("a", b"today"), ("b", b"tomorrow")):
        for name, content in (("000005.ldb", b"table"), ("LOG", log), ("CURRENT", b"MANIFEST-2")):
            write(tmp_path / place / name, content)
    lines = [fingerprint.of_database(str(tmp_path / place)) for place in ("a", "b")]
    assert lines[0] == lines[1] and lines[0].startswith("1 files, SHA-256 of parts ")
    write(tmp_path / "b/000005.ldb", b"Table")
    assert fingerprint.of_database(str(tmp_path / "b")) != lines[0]


def test_a_file_is_all_that_is_in_it(tmp_path):
    import hashlib

    path = write(tmp_path / "mean", os.urandom(3 << 20))
    assert fingerprint.of_file(str(path)) == (
        f"SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    )
