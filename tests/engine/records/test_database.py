"""Databases that were cut short or damaged: one line, and never a signal."""

from __future__ import annotations

import os
import threading

import lmdb
import numpy as np
import pytest

from dualnet.data.databases.lmdb import count_records, write_lmdb
from dualnet.engine.errors import DataError
from dualnet.engine.formats.datum import decode
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.records import database
from dualnet.engine.records.database import Database
from dualnet.errors import StorageFailed
from tests.data.loading import load_lmdb


@pytest.fixture
def source(tmp_path):
    """The folder of a database of 60 records, each on a page of its own."""
    images = np.random.randint(0, 256, (60, 3, 32, 32)).astype(np.uint8)
    write_lmdb(tmp_path / "lmdb", images, np.arange(60) % 10)
    return tmp_path / "lmdb"


def read(path):
    return list(Database(str(path)).records())


def test_a_database_that_was_cut_short(source):
    content = (source / "data.mdb").read_bytes()
    for left in (2 * 4096, 3 * 4096 + 1, len(content) // 2, len(content) - 1):
        (source / "data.mdb").write_bytes(content[:left])
        message = f"damaged.*{left} bytes are left of {len(content)}"
        with pytest.raises(DataError, match=message):
            read(source)
        with pytest.raises(StorageFailed, match=message):
            load_lmdb(source)
        with pytest.raises(StorageFailed, match=message):
            count_records(source)
    (source / "data.mdb").write_bytes(content)
    assert len(read(source)) == 60


def test_a_fifo_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.mdb")
    for path in (tmp_path, tmp_path / "data.mdb"):
        with pytest.raises(DataError, match="cannot open '.*' as LMDB: not a regular file"):
            read(path)


@pytest.mark.parametrize("left", [0, 100, 4095])
def test_a_database_without_its_first_pages(source, left):
    content = (source / "data.mdb").read_bytes()
    (source / "data.mdb").write_bytes(content[:left])
    with pytest.raises(DataError, match="cannot open|damaged|empty"):
        read(source)


def test_pages_that_are_no_pages(source):
    content = bytearray((source / "data.mdb").read_bytes())
    root = next(at for at in range(2 * 4096, len(content), 4096) if content[at + 10] & 3)
    content[root + 10] = 0  # the flags: neither branch nor leaf
    (source / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match="damaged: .*make or copy it again") as caught:
        read(source)
    assert "\n" not in str(caught.value)


def test_a_record_that_is_no_datum(tmp_path):
    with (
        lmdb.open(str(tmp_path / "lmdb"), lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"00000", b"\xff\xff\xff\xff")
    with pytest.raises(DataError, match="record b'00000' is no Datum, or is damaged"):
        read(tmp_path / "lmdb")


def test_a_datum_of_negative_size():
    datum = caffe_pb2.Datum(channels=-1, height=-2, width=3, data=bytes(6))
    with pytest.raises(DataError, match=r"here: 6 values are stored for the shape \(-1, -2, 3\)"):
        decode(datum, "here")


def test_a_database_that_is_being_closed_is_waited_for(source, monkeypatch):
    """One thread drops it as another opens it: LMDB takes a file once a process."""
    close, entered, go = database._close, threading.Event(), threading.Event()

    def slow(*arguments):
        entered.set()
        go.wait(10)
        close(*arguments)

    monkeypatch.setattr(database, "_close", slow)
    held, sizes = [database.open_database(str(source))], []
    dropping = threading.Thread(target=held.clear)
    opening = threading.Thread(
        target=lambda: sizes.append(database.open_database(str(source)).size)
    )
    dropping.start()
    assert entered.wait(10)
    opening.start()
    opening.join(0.2)
    go.set()
    for thread in (dropping, opening):
        thread.join()
    assert sizes == [60]
