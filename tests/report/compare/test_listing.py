"""The runs below a directory: how far each has come, how good it is and how long it took."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dualnet import cli
from dualnet.errors import UsageError
from dualnet.exchange.run.host import ProcessId
from dualnet.report.compare import listing
from dualnet.report.compare.listing import Listed, find_runs, latest_run, list_runs
from dualnet.report.compare.text import to_table
from dualnet.report.lives import Life, time_text, write_lives
from dualnet.report.log import CaffeLog
from dualnet.report.status import PieceStatus
from dualnet.rundir import RunDir


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


def test_each_run_says_how_far_and_how_good(runs):
    chain, diverged, single = list_runs("runs")
    assert (chain.pieces, chain.state, chain.iteration) == (2, "not started", 39)
    assert chain.settings["coupling.target"] == "gradient"
    assert chain.accuracy == chain.best_accuracy == 0.96875 and chain.best_iteration == 30
    assert math.isnan(diverged.loss) and diverged.has_diverged
    assert (single.pieces, single.state, single.accuracy) == (1, "done", 0.5)
    assert (single.best_accuracy, single.best_iteration) == (0.96875, 30)
    assert "coupling.target" not in single.settings


def write_life(piece, number=1, **fields):
    """Add a life to a piece's record."""
    process = replace(ProcessId.current(), start="1")
    life = Life(number, time_text(time.time() - 50), process=process.fields(), **fields)
    path = RunDir("runs/more/b").piece(piece)
    write_lives(path, [*listing._lives(path), life])


def test_time_and_speed(runs):
    with CaffeLog("runs/more/b/single.log", clock=iter(range(0, 900, 2)).__next__) as log:
        log.info("Restoring previous solver status")
        log.solving("net")
        for k in range(30, 40):
            log.training(k, 1.0, {}, None)
    (found,) = list_runs("runs/more/b")
    assert found.time_s is not None and found.samples_per_s is None and found.restarts == 0
    write_life("single", state="killed")
    write_life("single", 2, state="done", wall_s=12.0, facts={"samples_per_iteration": 8})
    write_life("single", 3, state="done", wall_s=0.5, facts={"samples_per_iteration": 8})
    (found,) = list_runs("runs/more/b")
    assert found.time_s == 12.5 and found.restarts == 2 and found.began
    assert found.samples_per_s == 8 * found.iterations_per_s


def test_the_speed_is_that_between_two_lines_without_a_test_or_a_restart():
    def speed(*seconds):
        rows = [listing_row(10 * k, at) for k, at in enumerate(seconds)]
        log = listing.ParsedLog("x", train=rows)
        return listing._speed(log)

    def listing_row(iteration, seconds):
        from dualnet.report.parse import LogRow

        return LogRow(iteration, seconds)

    assert speed() is None and speed(1.0) is None and speed(1.0, 1.0) is None
    assert speed(0.0, 2.0, 4.0, 60.0, 62.0, 3600.0, 3602.0) == 5.0


def test_a_killed_single_net_is_dead(runs):
    (found,) = list_runs("runs/more/b")
    assert found.state == "done"
    with CaffeLog("runs/more/b/single.log") as log:
        log.solving("net")
    write_life("single")
    (found,) = list_runs("runs/more/b")
    assert found.state == "dead" and found.lives["single"][0].state == "killed"
    write_life("single", 2, state="failed", error="no room")
    (found,) = list_runs("runs/more/b")
    assert found.state == "failed: no room"


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
    assert cli.main(["runs", "--sort", "best", "--where", "pieces=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "runs/a", "runs/c"]
    assert cli.main(["runs", "runs/c", "--json"]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["loss"] is None and record["not_finite"] == {"loss": "NaN"}
    assert set(Listed.__dataclass_fields__) <= set(record)
    assert cli.main(["runs", "runs/more/b"]) == 0
    assert capsys.readouterr().out.startswith("runs/more/b\n  state")


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
