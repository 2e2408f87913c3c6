"""CSV tables of logs."""

from __future__ import annotations

import csv
import math

import pytest

from dualnet.errors import StorageFailed
from dualnet.report.log import CaffeLog
from dualnet.report.parse import parse_log
from dualnet.report.table import write_tables
from tests.report.test_parse import BVLC_LOG


def _read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_log_of_caffe(tmp_path):
    train, test = write_tables(parse_log(BVLC_LOG), tmp_path)
    assert (train.name, test.name) == ("bvlc.log.train", "bvlc.log.test")
    assert test.read_text().splitlines()[:2] == [
        "NumIters,Seconds,LearningRate,accuracy,loss",
        "0,0.00132,0.1,0.15,2.25996",
    ]
    rows = _read(train)
    assert [int(row["NumIters"]) for row in rows] == [0, 10, 20, 30, 40, 50, 60]
    assert [math.isnan(float(row["loss"])) for row in rows] == [False] * 5 + [True] * 2


def test_missing_values_are_empty_and_further_test_nets_get_files(tmp_path):
    with CaffeLog(tmp_path / "net.log") as out:
        out.training(0, 1.0, {"loss": 1.0}, 0.5)
        out.training(1, 1.0, {"loss": 2.0, "norm": float("inf")})
        out.testing(1, {"accuracy": 0.5})
        out.testing(1, {"accuracy": 0.25}, net=1)
    paths = write_tables(parse_log(tmp_path / "net.log"))
    assert paths == [tmp_path / f"net.log.{suffix}" for suffix in ("train", "test", "test.1")]
    rows = _read(paths[0])
    assert [(row["loss"], row["norm"], row["LearningRate"]) for row in rows] == [
        ("1.0", "", "0.5"),
        ("2.0", "inf", "0.5"),
    ]
    assert [_read(path)[0]["accuracy"] for path in paths[1:]] == ["0.5", "0.25"]


def test_old_tables_are_replaced_and_new_ones_need_a_directory(tmp_path):
    log = parse_log(BVLC_LOG)
    (tmp_path / "bvlc.log.train").write_text("old")
    write_tables(log, tmp_path)
    assert len(_read(tmp_path / "bvlc.log.train")) == 7
    with pytest.raises(StorageFailed, match=r"cannot write the table .*No such file"):
        write_tables(log, tmp_path / "absent")
