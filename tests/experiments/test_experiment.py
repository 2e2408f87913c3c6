"""A whole experiment with real processes: its runs, its table and figures, and going on."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dualnet.config import load_run
from dualnet.errors import DualnetError
from dualnet.experiments.plan import load_experiment
from dualnet.experiments.runner import outcomes, run_all
from dualnet.rundir import RunDir
from dualnet.training.outcome.evaluate import evaluate
from tests.processes import children_of, is_alive, wait_for

YAML = """
title: A small comparison
question: Does it run?
config: configs/digits.yaml
set: [train.max_iter=6, train.test_interval=3, train.test_iter=6, train.batch_size=8,
      train.display=1]
seeds: [1, 2]
runs:
  single: {command: single, about: the uncut net}
  gradient: {set: [coupling.fidelity_interval=2]}
  diverges: {set: [net2.learning_rate=1e30]}
series: ["net1:fidelity_cosine"]
columns: ["net1:fidelity_cosine"]
"""


@pytest.fixture
def experiment(workdir):
    # A copy: the fixture's is a link to the project's own.
    source = os.path.realpath(workdir / "configs")
    (workdir / "configs").unlink()
    shutil.copytree(source, workdir / "configs")
    (workdir / "configs" / "experiments" / "small.yaml").write_text(YAML)
    return workdir


@pytest.fixture
def child_python(monkeypatch, repository):
    """Child processes find the package, whatever their working directory."""
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")


@pytest.mark.slow
def test_experiment_from_its_file_to_its_report(experiment, dualnet):
    done = dualnet("experiment", "small", "--runs", "runs", "-o", "out", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "[1/3] small: single, seed 1" in done.stderr
    names = ["README.md", "accuracy.png", "costs.png", "curves.png", "runs.csv"]
    assert sorted(os.listdir("out/small")) == names
    with open("out/small/runs.csv") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["single", "gradient", "diverges"]
    # The same accuracy as `dualnet evaluate` has.
    for name in ("single", "gradient"):
        run_dir = f"runs/small/{name}-seed1"
        expected = evaluate(RunDir(run_dir), load_run(RunDir(run_dir)))
        np.testing.assert_allclose(float(rows[name]["accuracy"]), expected["accuracy"], atol=1e-6)
    assert float(rows["gradient"]["net1:fidelity_cosine"]) == pytest.approx(1.0, abs=1e-4)
    assert rows["diverges"]["diverged_at"] != "" and rows["diverges"]["accuracy"] == ""
    # conv3p of 8 samples, and every second time pool2's gradient with it.
    down = 2**20 * float(rows["gradient"]["mib_down"])
    assert down == pytest.approx(1.5 * 8 * 128 * 4, rel=1e-3)
    text = (experiment / "out/small/README.md").read_text()
    assert "# A small comparison" in text and "diverged (1 of 1, at " in text
    assert "| single | " in text and "the uncut net" in text

    again = dualnet("experiment", "small", "--runs", "runs", "-o", "out", "--seeds", "1")
    assert again.returncode == 0 and again.stderr.count("done before") == 3

    # Another seed, and a mean with its spread.
    more = dualnet("experiment", "small", "--runs", "runs", "-o", "out")
    assert more.returncode == 0, more.stderr
    text = (experiment / "out/small/README.md").read_text()
    assert "over seeds 1, 2" in text and " ± " in text


@pytest.mark.slow
def test_single_and_dual_runs_of_a_seed_begin_with_the_same_weights(experiment, child_python):
    text = YAML.replace("diverges: {set: [net2.learning_rate=1e30]}", "")
    (experiment / "configs/experiments/small.yaml").write_text(
        text.replace("seeds: [1, 2]", "seeds: [3]")
    )
    small = load_experiment("small")
    run_all(small, "runs", lambda line: None)
    single, dual = outcomes(small, "runs")
    from dualnet.report.parse import parse_log

    losses = [
        parse_log(os.path.join(run.run, log)).series("loss")[1]
        for run, log in ((single, "single.log"), (dual, "net2.log"))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_a_run_that_fails_otherwise_ends_the_experiment(experiment, child_python):
    (experiment / "configs/experiments/small.yaml").write_text(
        YAML.replace("train.batch_size=8", 'train.batch_size=8, "cut.blobs=[pool9]"')
    )
    with pytest.raises(DualnetError, match="pool9"):
        run_all(load_experiment("small"), "runs", lambda line: None)
    assert outcomes(load_experiment("small"), "runs") == []


@pytest.mark.parametrize("command", ["single", "gradient"])
def test_a_training_stops_when_its_experiment_is_killed(experiment, child_python, command):
    (experiment / "configs/experiments/small.yaml").write_text(
        YAML.replace("max_iter=6", "max_iter=5000").replace(
            "runs:\n", "runs:\n" if command == "single" else "runs:\n  first: {}\n"
        )
    )
    runner = subprocess.Popen(
        [sys.executable, "-m", "dualnet", "experiment", "small", "--runs", "runs", "-o", "out"],
        stderr=subprocess.DEVNULL,
    )
    name, log = ("single", "single.log") if command == "single" else ("first", "net2.log")
    path = experiment / "runs" / "small" / f"{name}-seed1" / log
    started = []
    try:
        wait_for(lambda: path.exists() and "Iteration 2" in path.read_text())
        for child in children_of(runner.pid):
            started += [child, *children_of(child)]
    finally:
        runner.kill()
        runner.wait()
    assert len(started) == (1 if command == "single" else 3)
    wait_for(lambda: not any(map(is_alive, started)))
