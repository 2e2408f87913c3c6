"""The table of runs below a directory."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from dualnet import cli
from dualnet.errors import UsageError
from dualnet.report import listing
from dualnet.report.listing import Listed, find_runs, latest_run, list_runs, to_table
from dualnet.report.log import CaffeLog
from dualnet.report.status import PieceStatus


@pytest.fixture
def runs(tmp_path, make_run, monkeypatch):
    """Two runs of a chain and one of the single net, and folders that are none."""
    monkeypatch.chdir(tmp_path)
    make_run("runs/a", pieces=["net1", "net2", "net3"], coupling={"target": "gradient"})
    make_run("runs/more/b", pieces=["single"])
    with CaffeLog("runs/more/b/single.log") as log:
        log.testing(40, {"accuracy": 0.5, "loss": 1.0})
        log.info("Optimization Done.")
    make_run("runs/c", diverges_at=20)
    (tmp_path / "runs/a/exchange").mkdir()
    (tmp_path / "runs/none/of/these").mkdir(parents=True)


def test_runs_are_found_below_a_directory(runs):
    assert [run.path for run in find_runs("runs")] == ["runs/a", "runs/c", "runs/more/b"]
    assert [run.path for run in find_runs("runs/a")] == ["runs/a"]
    with pytest.raises(UsageError, match="nowhere: no such directory"):
        list(find_runs("nowhere"))
    with pytest.raises(UsageError, match="runs/none: no run in it"):
        list_runs("runs/none")


def test_each_run_says_what_it_is_and_how_good(runs):
    chain, diverged, single = list_runs("runs")
    assert (chain.about, chain.state, chain.iteration) == (
        "target gradient, tie start", "not started", 39
    )  # fmt: skip
    assert chain.accuracy == chain.best_accuracy == 0.96875
    assert math.isnan(diverged.loss)
    assert (single.pieces, single.state, single.accuracy, single.best_accuracy) == (
        1, "done", 0.5, 0.96875
    )  # fmt: skip
    lines = to_table([diverged, single]).splitlines()
    assert lines[0].split() == [
        "run", "what", "pieces", "state", "iteration", "loss", "accuracy", "best"
    ]  # fmt: skip
    assert lines[1].endswith("nan") and lines[2].endswith("0.5000    0.9688")


def test_the_piece_that_is_worst_off_is_named():
    def state(*states):
        return listing._state([PieceStatus(f"net{k + 1}", one) for k, one in enumerate(states)])

    assert state("running", "waiting", "waiting") == "running"
    assert state("waiting", "dead", "running") == "net2 dead"
    assert state("complete", "failed: no room", "failed: too") == "net2, net3 failed"
    assert state("complete", "running") == "running"
    assert state("complete", "complete") == "complete"


def test_the_command(runs, capsys):
    assert cli.main(["runs"]) == 0
    assert capsys.readouterr().out == to_table(list_runs("runs"))
    assert cli.main(["runs", "runs/c", "--json"]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["loss"] is None and record["not_finite"] == {"loss": "NaN"}
    assert set(Listed.__dataclass_fields__) <= set(record)


def test_the_latest_run_is_the_one_whose_config_was_written_last(runs):
    for age, name in enumerate(("runs/more/b", "runs/a", "runs/c")):
        if not os.path.exists(f"{name}/config.yaml"):
            Path(name, "config.yaml").write_text("name: x\n")
        os.utime(f"{name}/config.yaml", (1e9 - age, 1e9 - age))
    assert latest_run("runs").path == "runs/more/b"
    os.unlink("runs/more/b/config.yaml")
    assert latest_run("runs").path == "runs/a"
    with pytest.raises(UsageError, match="runs/none: no run in it"):
        latest_run("runs/none")
