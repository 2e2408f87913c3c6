"""The CSV file of runs: the values of their logs."""

from __future__ import annotations

import csv
import io
import math

import pytest

from dualnet import cli
from dualnet.errors import StorageFailed, UsageError
from dualnet.report.csv_file import to_csv, write_csv
from dualnet.report.log import CaffeLog
from dualnet.report.parse import parse_log
from tests.report.test_parse import BVLC_LOG


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def check_equal(rows, logs):
    """Check that rows have the values of logs, no more and no fewer.

    Args:
        rows: Of the CSV file.
        logs: (run, piece) to its log.
    """
    wanted = []
    for (run, piece), path in logs.items():
        log = parse_log(path)
        for phase, found in (("train", log.train), ("test", log.tests.get(0, []))):
            for row in found:
                values = {name: repr(value) for name, value in row.outputs.items()}
                if row.loss is not None:
                    values["smoothed_loss"] = repr(row.loss)
                wanted.append(((str(run), piece, phase, str(row.iteration)), values))
    first = ("run", "piece", "phase", "iteration")
    beside = (*first, "seconds", "learning_rate")
    assert [
        (
            tuple(row[name] for name in first),
            {name: value for name, value in row.items() if name not in beside and value},
        )
        for row in rows
    ] == wanted


def test_the_values_are_the_logs(make_run):
    one, two = make_run("a", diverges_at=30), make_run("b", pieces=["single"])
    rows = rows_of(to_csv([one, two]))
    logs = {(one, "net1"): one / "net1.log", (one, "net2"): one / "net2.log",
            (two, "single"): two / "single.log"}  # fmt: skip
    check_equal(rows, logs)
    assert {row["learning_rate"] for row in rows} == {"0.01"}
    assert {row["smoothed_loss"] for row in rows if row["phase"] == "test"} == {""}
    assert sum(math.isnan(float(row["loss"])) for row in rows) > 0


def test_a_restart_s_iterations_are_there_once(make_run):
    run = make_run("a")
    with CaffeLog(run / "net2.log") as log:
        log.info("Restoring previous solver status from x")
        log.solving("a")
        log.training(35, 9.0, {"loss": 8.0, "seconds": 3.0}, 0.01)
    rows = [row for row in rows_of(to_csv([run])) if row["piece"] == "net2"]
    check_equal(rows_of(to_csv([run / "net1.log"])), {(run / "net1.log", "net1"): run / "net1.log"})
    iterations = [int(row["iteration"]) for row in rows if row["phase"] == "train"]
    assert iterations == list(range(36))
    (last,) = [row for row in rows if row["iteration"] == "35"]
    # An output that is called as a column stands beside it.
    assert (last["smoothed_loss"], last["loss"], last["seconds (output)"]) == ("9.0", "8.0", "3.0")


def test_a_log_of_caffe():
    rows = rows_of(to_csv([BVLC_LOG]))
    check_equal(rows, {(BVLC_LOG, "log"): BVLC_LOG})


def test_the_command(make_run, capsys, tmp_path):
    run = make_run("a")
    assert cli.main(["curves", str(run)]) == 0
    assert capsys.readouterr().out == to_csv([run])
    out = tmp_path / "new" / "a.csv"
    assert cli.main(["curves", str(run), "-o", str(out)]) == 0
    assert out.read_text() == to_csv([run])
    with pytest.raises(StorageFailed, match=r"cannot write .*a\.csv"):
        write_csv([run], out / "a.csv")
    with pytest.raises(UsageError, match="there is no"):
        to_csv([tmp_path / "absent"])
