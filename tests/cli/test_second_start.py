"""A second start of a run that is under way: refused at once, and nothing of it is touched."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

from dualnet import cli
from dualnet.exchange import Membership
from dualnet.process.stopping import STOP_SIGNALS
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve
from dualnet.training.start.claim import alone, claim, exchange_settings
from dualnet.training.start.identity import read_run
from tests.training.pieces import QUIET, load
from tests.training.starting import train_single

WORDS = ["configs/digits.yaml", "--run-dir", "run", *(w for s in QUIET for w in ("--set", s))]


@pytest.fixture(autouse=True)
def handlers():
    """Puts the handlers back that the command leaves."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def contents(run_dir):
    """Name to content, but for heartbeats and the status, which live."""
    found = {}
    for folder, _, names in os.walk(run_dir):
        for name in names:
            if not name.endswith((".heartbeat", ".status.json")):
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[path] = file.read()
    return found


def refused(words, capsys, line):
    """Call the command; it is to be refused with 75 and to touch nothing."""
    before = contents("run")
    assert cli.main(words) == 75
    assert contents("run") == before
    told = capsys.readouterr().err.splitlines()
    assert len([one for one in told if line in one]) == 1, told


@pytest.fixture
def config(workdir):
    """Of a run that has begun."""
    config = load()
    claim(config, resolve(config, RunDir("run").piece("net1")))
    for name in ("net1", "net2"):
        with open(f"run/{name}.out", "w") as file:
            file.write("what the first one says\n")
    return config


@pytest.mark.parametrize("name", ["net1", "net2"])
def test_train_while_a_piece_runs(config, capsys, name):
    identity = {"run": read_run(RunDir("run")).run}
    with contextlib.closing(Membership(name, "run", exchange_settings(config), identity)) as member:
        refused(["train", *WORDS], capsys, f"{name} of this run is running already: process")
        member.close("stopped")


def test_train_while_another_is_just_starting(config, capsys):
    with alone(config, RunDir("run")):
        refused(["train", *WORDS], capsys, "another training of this run is running on this node")


def test_a_piece_while_it_runs(config, capsys):
    identity = {"run": read_run(RunDir("run")).run}
    with contextlib.closing(Membership("net1", "run", exchange_settings(config), identity)) as net1:
        refused(["net1", *WORDS], capsys, "another net1 of this run is running on this node")
        net1.close("stopped")


def test_single_while_it_runs(workdir, capsys):
    reached, go_on, errors = threading.Event(), threading.Event(), []

    def progress(session):
        reached.set()
        assert go_on.wait(60)

    def first():
        try:
            train_single(load("train.snapshot=1"), RunDir("run"), progress=progress)
        except BaseException as error:  # handed to the test
            errors.append(error)

    other = threading.Thread(target=first, daemon=True)
    other.start()
    try:
        assert reached.wait(60)
        words = ["single", *WORDS, "--set", "train.snapshot=1"]
        refused(words, capsys, "another single of this run is running on this node")
    finally:
        go_on.set()
        other.join(60)
    assert errors == []
