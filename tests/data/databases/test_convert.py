"""`dualnet data convert`: LevelDB to LMDB, and the databases that Caffe's own tool writes."""

from __future__ import annotations

import json

import lmdb
import numpy as np
import pytest
from PIL import Image

from dualnet import cli
from dualnet.backend import caffe_pb2
from dualnet.data.databases.convert import convert_leveldb
from dualnet.data.databases.lmdb import write_lmdb
from dualnet.errors import ConfigError, UsageError
from tests.data.caffe_tool import tool
from tests.data.loading import load_lmdb

__all__ = ["tool"]  # a fixture

plyvel = pytest.importorskip("plyvel")


def write(path, records):
    database = plyvel.DB(str(path), create_if_missing=True)
    for key, value in records.items():
        database.put(key, value)
    database.close()
    return path


def read(path):
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return dict(transaction.cursor())


def test_records_are_copied_as_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_handle_stops", lambda handler: None)
    images = np.random.randint(0, 256, (30, 3, 4, 5)).astype(np.uint8)
    records = {
        f"{n:08d}_{n}.jpg".encode(): caffe_pb2.Datum(
            channels=3, height=4, width=5, data=images[n].tobytes(), label=n
        ).SerializeToString()
        for n in range(30)
    }
    source = write(tmp_path / "level", records)
    out = tmp_path / "out" / "lmdb"
    assert cli.main(["data", "convert", str(source), "-o", str(out)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["records"] == 30 and summary["directory"] == str(out)
    assert read(out) == records
    found, labels = load_lmdb(out)
    np.testing.assert_array_equal(found, images)
    assert labels.tolist() == list(range(30))
    with pytest.raises(UsageError, match="lmdb exists already: give --force"):
        convert_leveldb(source, out)
    assert convert_leveldb(source, out, force=True) == summary


def test_what_cannot_be_converted_leaves_nothing(tmp_path):
    write_lmdb(tmp_path / "lmdb", np.zeros((1, 1, 2, 2), np.uint8), [0])
    (tmp_path / "folder").mkdir()
    damaged = write(tmp_path / "damaged", {b"a": b"x" * 1000})
    log = max(damaged.glob("*.log"), key=lambda path: path.stat().st_size)
    log.write_bytes(log.read_bytes()[:500] + b"\0\1" * 300)
    for source, words in (
        (tmp_path / "lmdb", "is an LMDB database already"),
        (tmp_path / "folder", "is no LevelDB database"),
        (tmp_path / "none", "does not exist"),
        (write(tmp_path / "empty", {}), "is empty"),
        (write(tmp_path / "long", {b"k" * 512: b""}), "record 1 has a key of 512 bytes"),
        (damaged, "damaged"),
    ):
        with pytest.raises(ConfigError, match=words):
            convert_leveldb(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.bvlc
def test_a_database_of_caffes_own_tool(tool, tmp_path):
    lines = []
    for number in range(40):
        pixels = np.random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png {number % 7}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    for backend in ("lmdb", "leveldb"):
        tool("convert_imageset", f"--backend={backend}", f"{tmp_path}/", "list.txt", backend)
    convert_leveldb(tmp_path / "leveldb", tmp_path / "log")
    assert read(tmp_path / "log") == read(tmp_path / "lmdb")
    # Opened once more by Caffe, it is a compressed table.
    tool("compute_image_mean", "--backend=leveldb", "leveldb", "mean.binaryproto")
    assert list((tmp_path / "leveldb").glob("*.ldb"))
    convert_leveldb(tmp_path / "leveldb", tmp_path / "table")
    assert read(tmp_path / "table") == read(tmp_path / "lmdb")
