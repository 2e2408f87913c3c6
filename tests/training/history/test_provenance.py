"""What a life was made with is what was in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dualnet import __version__
from dualnet.backend import provider
from dualnet.process.lifeline import FLAG
from dualnet.rundir import RunDir
from dualnet.training.history.provenance import provenance
from dualnet.training.net.resolve import resolve
from dualnet.training.start.claim import claim
from tests.training.pieces import load


def facts(name, *settings, run="run"):
    config = load(*settings)
    resolved = resolve(config, RunDir(run).piece(name))
    data = claim(config, resolved).data(resolved.dir)
    return provenance(config, resolved, data)


def test_what_was_in_use(workdir, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/dualnet/__main__.py", "single", "a.yaml"])
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    found = facts("single", "train.batch_size=6", "single.threads=1", "train.micro_batches=3")
    assert json.loads(json.dumps(found)) == found
    assert found["dualnet"] == __version__ and found["provider"] == provider
    assert found["libraries"]["numpy"] == np.__version__
    assert found["libraries"].keys() >= {"protobuf", "lmdb", "h5py", "PyYAML"}
    assert found["command"] == ["dualnet", "single", "a.yaml"] and found["launched_by"] == []
    assert (found["device"], found["threads"], found["gpu"]) == ("cpu", 1, "")
    assert found["samples_per_iteration"] == 6
    assert found["directory"] == str(workdir)
    assert found["environment"]["SLURM_JOB_ID"] == "77"
    assert found["usable_cores"] == len(os.sched_getaffinity(0))


def test_the_config_s_seed_takes_the_place_of_the_solver_s(workdir):
    solver = Path("prototxt/digits/single_solver.prototxt").read_text()
    Path("seeded.prototxt").write_text(f"{solver}\nrandom_seed: 1701\n")
    seeds = [
        facts("single", "seed=5")["seed"],
        facts("single", "seed=6", "single.solver=seeded.prototxt", run="seeded")["seed"],
    ]
    assert [seed["solver_random_seed"] for seed in seeds] == [None, 1701]
    assert [seed["used"] for seed in seeds] == [5, 6]


def test_data_are_told_by_their_path_and_content(workdir):
    found = {one["path"]: one["holds"] for one in facts("net1", run="dual")["data"]}
    assert found[f"{workdir}/data/digits/train_lmdb"].startswith("1437 records, SHA-256 of some ")
    assert facts("net2", run="dual")["data"] == []


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        (["-m", "dualnet", "train", "a b.yaml"], ["dualnet", "train", "a b.yaml"]),
        (["/venv/bin/dualnet", "train"], ["dualnet", "train"]),
    ],
)
def test_a_piece_that_dualnet_has_started_knows_its_command(workdir, monkeypatch, started, shown):
    monkeypatch.setattr(sys, "argv", ["dualnet", "net1", FLAG])
    with subprocess.Popen(
        [sys.executable, "-c", "input()", *started], stdin=subprocess.PIPE
    ) as parent:
        monkeypatch.setattr(os, "getppid", lambda: parent.pid)
        assert facts("single")["launched_by"] == shown
        parent.kill()
    monkeypatch.setattr(os, "getppid", lambda: 2**30)
    assert facts("single")["launched_by"] == []
