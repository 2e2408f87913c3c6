"""Pieces that die or are stopped anywhere and are started again train the same, to the bit."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dualnet.errors import NeighbourDied, UsageError
from dualnet.report.lives import read_lives
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.net.nets import Nets
from dualnet.training.outcome.digest import digest
from dualnet.training.start import run as run_module
from tests.report.event_reader import points
from tests.training.pieces import load
from tests.training.starting import train_one, train_single

LIMIT_S = 120.0
SHORT = ("train.max_iter=11", "train.display=1", "train.test_interval=3", "train.test_iter=2",
         "train.snapshot=2")  # fmt: skip


def rows_of(run_dir, piece):
    """What a log says about iterations and tests, without times."""
    log = parse_log(os.path.join(run_dir, f"{piece}.log"))
    assert log.done

    def facts(rows):
        return [(row.iteration, row.loss, row.learning_rate, row.outputs) for row in rows]

    return facts(log.train), {net: facts(rows) for net, rows in log.tests.items()}


def equal(one, other, pieces=("net1", "net2")):
    """Check weights, solver history and log of two runs."""
    assert digest(RunDir(str(one))) == digest(RunDir(str(other)))
    for piece in pieces:
        assert rows_of(one, piece) == rows_of(other, piece)


# In this process: a piece ends with an error where a test says, and starts again.


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch):
    """Builds one net at a time, and seeds none meanwhile: random numbers belong to the process."""
    lock, real, real_seed = threading.Lock(), run_module.Nets, Nets.seed

    def build(config, resolved):
        with lock:
            return real(config, resolved)

    def seed(nets, number):
        with lock:
            real_seed(nets, number)

    monkeypatch.setattr(run_module, "Nets", build)
    monkeypatch.setattr(Nets, "seed", seed)


class Crash(Exception):
    """What a test puts in the way of a piece."""


def run(config, run_dir, piece, crashes, errors):
    """Train a piece; at each iteration of `crashes` it ends once, and starts again."""

    def arm(session):
        def look(done):
            if done in crashes:
                crashes.remove(done)
                raise Crash

        session.on_progress = look

    try:
        while True:
            try:
                train_one(config, RunDir(run_dir).piece(piece), arm)
                return
            except Crash:
                continue
    except BaseException as error:  # handed to the test
        errors.append(error)


def run_chain(run_dir, *overrides, make=load, **crashes):
    """Train all pieces, a thread each, with crashes by piece; `make` makes the config."""
    config, errors = make(*overrides), []
    threads = [
        threading.Thread(
            target=run, args=(config, run_dir, name, list(crashes.get(name, ())), errors),
            daemon=True,
        )
        for name in config.names
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), f"a piece hangs; others: {errors}"
    if errors:
        raise errors[0]


RULES = {
    "gradient": ("update.rule=solver", "coupling.target=gradient", "coupling.tie=start"),
    "updated": ("update.rule=manual", "coupling.target=updated", "coupling.tie=every",
                "update.learning_rate=0.01"),
    "activation": ("update.rule=solver", "coupling.target=activation", "coupling.tie=never"),
    "admm": ("coupling.target=admm", "train.local_steps=2"),
    "ahead": ("coupling.target=prox", "train.schedule=overlapped", "train.staleness=3",
              "train.snapshot=4", "train.test_interval=100"),
    "recomputed": ("coupling.target=backprop", "train.schedule=overlapped", "train.staleness=2",
                   "train.snapshot=5", "train.stale_activations=recompute"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_crashes_of_either_piece_change_nothing(workdir, rule):
    # 1 and 1: before there is a checkpoint; 6: at one; 7 and 9: one piece after the other.
    run_chain("whole", *SHORT, *RULES[rule])
    run_chain("parts", *SHORT, *RULES[rule], net1=(1, 6, 9), net2=(1, 7))
    equal("whole", "parts")
    for piece in ("net1", "net2"):
        assert commit.complete(RunDir("parts").piece(piece))
    log = Path("parts/net1.log").read_text()
    assert "start 4" in log and "messages sent again, equal to the bit" in log
    assert not list(Path("parts/exchange").rglob("*.npy"))
    # The same once more has nothing to do.
    assert train_one(load(*SHORT, *RULES[rule]), RunDir("parts").piece("net1")) is None


def test_piece_that_dies_when_the_other_is_complete_ends_alone(workdir, monkeypatch):
    run_chain("whole", *SHORT)
    real, failures = commit.mark_complete, [1]

    def mark(piece, iteration):
        if piece.name == "net2" and failures and failures.pop():
            # Killed between the last message and the note that nothing is left to do.
            for _ in range(1000):
                if commit.complete(piece.run.piece("net1")):
                    raise Crash
                time.sleep(0.01)
        real(piece, iteration)

    monkeypatch.setattr(commit, "mark_complete", mark)
    run_chain("parts", *SHORT)
    equal("whole", "parts")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "record"])
def test_damaged_checkpoint_falls_back_to_the_one_before(workdir, damage):
    run_chain("whole", *SHORT)

    def break_newest(run_dir):
        newest = commit.latest(RunDir(run_dir).piece("net1")).iteration
        if damage == "record":
            Path(RunDir(run_dir).piece("net1").at(newest).record).write_text('{"version": 1, "rol')
            return
        path = Path(run_dir, f"net1_iter_{newest}.solverstate")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)

    errors, config = [], load(*SHORT)
    other = threading.Thread(target=run, args=(config, "parts", "net2", [], errors), daemon=True)
    other.start()
    crashes = [7]

    def arm(session):
        def look(done):
            if done in crashes:
                raise Crash

        session.on_progress = look

    with pytest.raises(Crash):
        train_one(config, RunDir("parts").piece("net1"), arm)
    break_newest("parts")
    train_one(config, RunDir("parts").piece("net1"))
    other.join()
    assert not errors
    equal("whole", "parts")
    log = Path("parts/net1.log").read_text()
    assert re.search(r"^W.*net1_iter_6.checkpoint.json is ignored: ", log, re.M)
    assert "Restoring previous solver status from parts/net1_iter_4.solverstate" in log


def test_survivor_that_gave_up_waiting_goes_on_with_the_other(workdir, monkeypatch):
    monkeypatch.setattr("dualnet.training.start.wait_monitor._QUIET_S", 0.2)
    run_chain("whole", *SHORT)
    settings = (*SHORT, "exchange.restart_grace_s=1.5")
    errors, crashes = [], [7]

    def arm(session):
        def look(done):
            if done in crashes:
                raise Crash

        session.on_progress = look

    other = threading.Thread(
        target=run, args=(load(*settings), "parts", "net2", [], errors), daemon=True
    )
    other.start()
    with pytest.raises(Crash):
        train_one(load(*settings), RunDir("parts").piece("net1"), arm)
    other.join()
    assert [type(error) for error in errors] == [NeighbourDied]
    log = Path("parts/net2.log").read_text()
    assert "net1 is gone (failed: Crash: ) while up 7 is awaited; waiting 1.5 s at most" in log
    run_chain("parts", *settings)
    equal("whole", "parts")


def test_both_go_back_together_when_the_messages_between_are_gone(workdir):
    """What docs/explanation/exchange.md says to do when a restart ends with 73."""
    run_chain("whole", *SHORT)

    def arm(session):
        def look(done):
            if done == 7:
                raise Crash

        session.on_progress = look

    def train(piece):
        with pytest.raises((Crash, NeighbourDied)):
            train_one(load(*SHORT, "exchange.restart_grace_s=0"), RunDir("parts").piece(piece), arm)

    threads = [threading.Thread(target=train, args=(piece,)) for piece in ("net1", "net2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = {
        piece: commit.latest(RunDir("parts").piece(piece)).iteration for piece in ("net1", "net2")
    }
    assert set(latest.values()) == {6}
    for path in Path("parts/exchange").rglob("*.npy"):
        path.unlink()
    # net1 has lost its latest checkpoint; net2's goes, too.
    for piece in ("net1", "net2"):
        for path in sorted(Path("parts").glob(f"{piece}_iter_6.*"), reverse=True):
            path.unlink()
    run_chain("parts", *SHORT, "exchange.restart_grace_s=0")
    equal("whole", "parts")
    assert "net1_iter_4.solverstate" in Path("parts/net1.log").read_text()


def test_without_checkpoints_a_piece_is_not_started_again(workdir):
    config = load("train.max_iter=2")
    run_chain("run", "train.max_iter=2")
    assert train_one(config, RunDir("run").piece("net1")) is None  # it is complete
    os.unlink("run/net1_iter_2.checkpoint.json")
    with pytest.raises(UsageError, match=r"net1 has trained here already.*set train\.snapshot"):
        train_one(config, RunDir("run").piece("net1"))


def test_single_net_goes_on_where_it_was(workdir):
    def arm(session):
        def look(done):
            if done == 5 and not session.is_continued:
                raise Crash

        session.on_progress = look

    train_single(load(*SHORT), RunDir("whole"))
    with pytest.raises(Crash):
        train_single(load(*SHORT), RunDir("parts"), progress=arm)
    assert train_single(load(*SHORT), RunDir("parts")).is_continued
    equal("whole", "parts", ["single"])
    assert train_single(load(*SHORT), RunDir("parts")) is None


# Processes.


#: Beside what follows from the iteration: dropout, momentum, a loss averaged over four iterations.
LONG = ("train.max_iter=60", "train.display=1", "train.test_interval=7", "train.test_iter=2",
        "train.snapshot=6", "train.batch_size=8", "net1.threads=1", "net2.threads=1",
        "single.threads=1", "net2.solver=net2_solver.prototxt")  # fmt: skip
if importlib.util.find_spec("tensorboardX") is not None:
    LONG += ("tracking=tensorboard",)
DROPOUT = 'layer { name: "drop5" type: "Dropout" bottom: "ip1" top: "ip1" }\n'


class Processes:
    """The two pieces as processes that are killed and started again."""

    def __init__(self, workdir, run_dir):
        self.workdir, self.run_dir = workdir, run_dir
        self.running = {}

    def start(self, piece):
        words = [word for setting in LONG for word in ("--set", setting)]
        with open(self.workdir / f"{self.run_dir}-{piece}.err", "ab") as errors:
            self.running[piece] = subprocess.Popen(
                [sys.executable, "-m", "dualnet", piece, "configs/digits.yaml", "--run-dir",
                 self.run_dir, *words], stderr=errors,
            )  # fmt: skip

    def log(self, piece):
        path = self.workdir / self.run_dir / f"{piece}.log"
        return path.read_text() if path.exists() else ""

    def iteration(self, piece):
        shown = re.findall(r"Iteration (\d+) \(", self.log(piece))
        return int(shown[-1]) if shown else -1

    def wait(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, "waited for too long"
            for piece, process in self.running.items():
                assert process.poll() in (None, 0), (self.errors(piece), piece)
            time.sleep(0.002)

    def end(self, piece, number):
        """Signal a piece; returns its exit code."""
        self.running[piece].send_signal(number)
        return self.running.pop(piece).wait(LIMIT_S)

    def errors(self, piece):
        return (self.workdir / f"{self.run_dir}-{piece}.err").read_text()

    def finish(self):
        return {piece: process.wait(LIMIT_S) for piece, process in self.running.items()}


@pytest.fixture
def processes(workdir, dualnet):
    """Makes runs of two processes; kills what a failed test leaves."""
    net = (workdir / "prototxt/digits/net2_train_test.prototxt").read_text()
    place = net.index('layer {\n  name: "ip2"')
    (workdir / "net2.prototxt").write_text(net[:place] + DROPOUT + net[place:])
    solver = (workdir / "prototxt/digits/net2_solver.prototxt").read_text()
    solver = re.sub(r'net: ".*"', 'net: "net2.prototxt" average_loss: 4', solver)
    (workdir / "net2_solver.prototxt").write_text(solver)
    made = []

    def make(run_dir):
        made.append(Processes(workdir, run_dir))
        return made[-1]

    yield make
    for one in made:
        for process in one.running.values():
            process.kill()
            process.wait()


def test_kills_anywhere_change_nothing(processes):
    whole, parts = processes("whole"), processes("parts")
    for piece in ("net1", "net2"):
        whole.start(piece)
    assert whole.finish() == {"net1": 0, "net2": 0}, whole.errors("net1") + whole.errors("net2")

    chance = random.Random(20171)
    for piece in ("net1", "net2"):
        parts.start(piece)
    reached = 0
    for victims, number, when in (
        (["net1"], signal.SIGKILL, "training"),  # before the first checkpoint
        (["net2"], signal.SIGKILL, "training"),
        (["net2"], signal.SIGKILL, "recovery"),
        (["net1", "net2"], signal.SIGKILL, "training"),
        (["net1"], signal.SIGKILL, "recovery"),
        (["net1"], signal.SIGTERM, "training"),
        (["net1", "net2"], signal.SIGUSR1, "training"),
        (["net2"], signal.SIGKILL, "training"),
    ):
        if when == "training":
            reached += chance.randrange(3, 8)
            parts.wait(lambda: parts.iteration(victims[0]) >= reached)  # noqa: B023
        else:
            parts.wait(lambda: parts.log(victims[0]).endswith(".solverstate\n"))  # noqa: B023
        codes = [parts.end(victim, number) for victim in victims]
        if number == signal.SIGKILL:
            assert codes == [-signal.SIGKILL] * len(victims)
        else:
            assert codes == [0] * len(victims), [parts.errors(victim) for victim in victims]
            assert f"dualnet: stopped by {number.name}; " in parts.errors(victims[0])
        for victim in victims:
            parts.start(victim)
    assert parts.finish() == {"net1": 0, "net2": 0}, parts.errors("net1") + parts.errors("net2")
    equal("whole", "parts")
    left = [name for name in os.listdir("parts") if "tmp" in name]
    assert left == []
    for role, kills, stops in (("net1", 2, 2), ("net2", 3, 1)):
        whole_piece, piece = RunDir("whole").piece(role), RunDir("parts").piece(role)
        # One that is killed while it recovers may not have come to its record yet.
        states = [life.state for life in read_lives(piece)]
        assert states.count("killed") in (kills, kills + 1) and states[-1] == "done"
        assert states.count("stopped") == stops
        if "tracking=tensorboard" in LONG:
            assert points(piece.events) == points(whole_piece.events)


def test_launcher_stops_and_goes_on_and_restarts(dualnet, workdir):
    command = ["train", "configs/digits.yaml", *(w for s in SHORT for w in ("--set", s))]
    long = [word for word in command if "max_iter" not in word]
    del long[long.index("--set")]  # whose value went
    long += ["--set", "train.max_iter=400"]
    launcher = subprocess.Popen(
        [sys.executable, "-m", "dualnet", *long, "--run-dir", "run", "--restarts", "1"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        log = workdir / "run/net2.log"
        deadline = time.monotonic() + LIMIT_S
        while not (log.exists() and "net2_iter_4." in log.read_text()):
            assert time.monotonic() < deadline and launcher.poll() is None
            time.sleep(0.01)
        holder = re.search(r" (\d+) run\.py", log.read_text()).group(1)
        os.kill(int(holder), signal.SIGKILL)
        while "start 2" not in log.read_text():
            assert time.monotonic() < deadline and launcher.poll() is None
            time.sleep(0.01)
        launcher.send_signal(signal.SIGTERM)
        _, errors = launcher.communicate(timeout=LIMIT_S)
    finally:
        launcher.kill()
        launcher.wait()
    assert launcher.returncode == 0, errors
    assert errors.strip().splitlines()[-1] == (
        "dualnet: stopped by SIGTERM; the same command continues all pieces"
    )
