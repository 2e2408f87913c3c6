"""Records by key through ordinary reads: the same as the library's, damaged files included."""

from __future__ import annotations

import bisect
import os
import random

import lmdb
import pytest

from dualnet.data.databases.lmdb_pages import LmdbPages, NotLmdb


def make(path, count, largest, chance):
    """A database of random records, a third of them written twice; its records by key."""
    keys = sorted({b"%08d_x" % chance.randrange(10**8) for _ in range(count)})
    records = {}
    with lmdb.open(str(path), map_size=1 << 28, lock=False, sync=False) as env:
        for some in (keys, keys[::3]):
            with env.begin(write=True) as transaction:
                for key in some:
                    records[key] = chance.randbytes(chance.randrange(1, largest))
                    transaction.put(key, records[key])
    return records


@pytest.mark.parametrize(("count", "largest"), [(1, 10), (7, 5000), (3000, 50), (500, 9000)])
def test_every_record_is_found(tmp_path, count, largest):
    chance = random.Random(count)
    records = make(tmp_path / "db", count, largest, chance)
    keys = sorted(records)
    for path in (tmp_path / "db", tmp_path / "db" / "data.mdb"):
        with LmdbPages(str(path)) as pages:
            assert pages.entries == len(keys)
            assert pages.first() == (keys[0], records[keys[0]])
            assert pages.last() == (keys[-1], records[keys[-1]])
            for _ in range(300):
                key = chance.choice([chance.choice(keys), b"%08d" % chance.randrange(10**8)])
                at = keys[max(0, bisect.bisect_right(keys, key) - 1)]
                assert pages.at(key) == (at, records[at])


def test_it_may_be_open_in_the_library_at_the_same_time(tmp_path):
    make(tmp_path, 9, 9, random.Random(1))
    with lmdb.open(str(tmp_path), readonly=True, lock=False), LmdbPages(str(tmp_path)) as pages:
        assert pages.entries == 9


def test_an_empty_one_has_no_record(tmp_path):
    lmdb.open(str(tmp_path), map_size=1 << 20, lock=False).close()
    with LmdbPages(str(tmp_path)) as pages:
        assert pages.entries == 0
        for look in (pages.first, pages.last, lambda: pages.at(b"1")):
            with pytest.raises(NotLmdb, match="no record"):
                look()


def look(path):
    with LmdbPages(str(path)) as pages:
        return pages.first(), pages.last(), [pages.at(b"%08d" % (i * 10**7)) for i in range(10)]


def test_a_file_that_was_cut_short_or_filled_with_anything_is_an_error(tmp_path):
    make(tmp_path, 300, 3000, random.Random(2))
    path = tmp_path / "data.mdb"
    content = path.read_bytes()
    expected = look(path)
    for size in (0, 5, 100, 4096, 5000, 9000, len(content) // 2):
        path.write_bytes(content[:size])
        with pytest.raises(NotLmdb):
            look(path)
    chance = random.Random(3)
    failed = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 30, 3000])):
            damaged[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            look(path)
        except NotLmdb:
            failed += 1
    assert failed > 20
    path.write_bytes(content)
    assert look(path) == expected


def test_no_database(tmp_path):
    with pytest.raises(FileNotFoundError):
        LmdbPages(str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "data.mdb").write_bytes(b"x" * 10000)
    with pytest.raises(NotLmdb, match="no LMDB file of version 1"):
        LmdbPages(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before
