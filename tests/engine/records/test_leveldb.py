"""LevelDB databases: read without being changed, by Caffe's default backend, and what is wrong."""

from __future__ import annotations

import glob
import os
import tempfile

import numpy as np
import pytest

from dualnet.data.databases.lmdb import write_lmdb
from dualnet.engine.errors import DataError, PrototxtError
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.records import leveldb
from dualnet.engine.records.database import open_database
from dualnet.engine.records.leveldb import LevelDatabase, is_leveldb

IMAGES = np.random.RandomState(0).randint(0, 256, (7, 2, 4, 5)).astype(np.uint8)


def plyvel():
    for name in ("plyvel", "plyvel_next"):
        try:
            return __import__(name)
        except ImportError:
            continue
    return pytest.skip("neither plyvel nor plyvel-next is installed")


def write(path, values, **options):
    database = plyvel().DB(str(path), create_if_missing=True, **options)
    for number, value in enumerate(values):
        database.put(f"{number:08d}".encode(), value)
    database.close()


def datum(number):
    return caffe_pb2.Datum(
        channels=2, height=4, width=5, data=IMAGES[number].tobytes(), label=number
    ).SerializeToString()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A database of seven records, in a log as it was left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    write(tmp_path / "level", map(datum, range(7)))
    return tmp_path / "level"


def views(source):
    return glob.glob(f"{source.parent}/tmp/*")


def state(path):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.iterdir()}


def net_of(tmp_path, source, backend=""):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { batch_size: 4 '
        f'source: "{source}" {backend} }} }}'
    )
    return Net(str(tmp_path / "net.prototxt"), caffe_pb2.TRAIN)


def test_a_net_reads_it_by_default_and_leaves_it_as_it_was(source, tmp_path):
    before = state(source)
    net = net_of(tmp_path, source)
    other = net_of(tmp_path, source)  # LevelDB itself would be locked
    labels = []
    for _ in range(3):
        net.forward()
        labels += net.blobs["label"].data.astype(int).tolist()
        np.testing.assert_array_equal(net.blobs["data"].data, IMAGES[labels[-4:]])
    other.forward()
    assert labels == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]
    assert state(source) == before


def test_it_may_be_read_only_or_in_use(source):
    held = plyvel().DB(str(source))
    database = LevelDatabase(str(source))
    assert len(list(database.items())) == 7
    database.close()
    held.close()
    assert not views(source)


def test_tables_of_many_kinds(tmp_path, source):
    """Compressed or not, large enough for several tables, with what was deleted and overwritten."""
    values = [os.urandom(3000) + b"x" * 3000 for _ in range(300)]
    for compression in ("snappy", None):
        path = tmp_path / f"large-{compression}"
        write(path, values, compression=compression, write_buffer_size=2**17)
        database = plyvel().DB(str(path))
        database.put(b"00000001", b"new")
        database.delete(b"00000002")
        database.close()
        found = LevelDatabase(str(path))
        read = dict(found.items())
        found.close()
        assert len(read) == 299 and read[b"00000001"] == b"new"
        assert read[b"00000299"] == values[299]


def test_views_go_with_the_database(source):
    database = open_database(str(source), is_level=True)
    assert len(views(source)) == 1 and database is open_database(str(source), is_level=True)
    del database
    assert not views(source)


def test_a_forked_process_leaves_its_parents_view(source):
    """Also one that ends in the usual way, as a layer's own helper may: exit handlers run."""
    database = open_database(str(source), True)
    child = os.fork()
    if not child:
        leveldb.weakref.finalize._exitfunc()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(views(source)) == 1
    assert len(list(database.items())) == 7


@pytest.mark.parametrize("kind", ["missing", "no folder", "no CURRENT", "wrong CURRENT",
                                  "no manifest", "empty"])  # fmt: skip
def test_what_is_no_leveldb(source, kind):
    path = source
    if kind == "missing":
        path = source / "none"
    elif kind == "no folder":
        path = source / "CURRENT"
    elif kind == "no CURRENT":
        (source / "CURRENT").unlink()
    elif kind == "wrong CURRENT":
        (source / "CURRENT").write_text("../../secret\n")
    elif kind == "no manifest":
        next(source.glob("MANIFEST-*")).unlink()
    else:
        path = source.parent / "empty"
        write(path, [])
    with pytest.raises(DataError, match=f"'{path}'") as caught:
        open_database(str(path), is_level=True)
    assert "\n" not in str(caught.value) and not views(source)


@pytest.mark.parametrize("what", ["*.ldb", "*.log", "MANIFEST-*"])
def test_damage_is_told_in_one_line(source, what):
    plyvel().DB(str(source)).close()  # makes a table of the log
    write(source, map(datum, range(7)))
    paths = [path for path in source.glob(what) if path.stat().st_size]
    for path in paths:
        content = bytearray(path.read_bytes())
        for at in range(0, len(content), 7):
            content[at] ^= 0x55
        path.write_bytes(content)
    with pytest.raises(DataError, match="the LevelDB database '.*level' is damaged") as caught:
        list(LevelDatabase(str(source)).items())
    message = str(caught.value)
    assert "\n" not in message and "dualnet-leveldb-" not in message and "b'" not in message


def test_other_peoples_files_are_not_read(source, tmp_path):
    (source / "000099.log").symlink_to(tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="cannot read .*level' as LevelDB: not a regular file"):
        LevelDatabase(str(source))
    assert not views(source)


def test_the_wrong_backend_is_told(source, tmp_path):
    write_lmdb(tmp_path / "lmdb", IMAGES, range(7))
    with pytest.raises(PrototxtError, match=r"'d'.*LEVELDB \(the default\).*lmdb' is an LMDB"):
        net_of(tmp_path, tmp_path / "lmdb")
    with pytest.raises(PrototxtError, match="'d'.*is LMDB, but .*level' is a LevelDB.*convert"):
        net_of(tmp_path, source, "backend: LMDB")
    assert is_leveldb(str(source)) and not is_leveldb(str(tmp_path / "lmdb"))


def test_a_missing_package_is_told(source, tmp_path, monkeypatch):
    monkeypatch.setattr(leveldb, "_PACKAGES", ("no_such_package",))
    with pytest.raises(DataError, match=r"level' is a LevelDB database.*dualnet\[leveldb\]"):
        net_of(tmp_path, source)
