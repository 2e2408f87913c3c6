"""A start adds a life to the record, and its end to that life, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace

import pytest

from dualnet import cli
from dualnet.engine.errors import CaffeError
from dualnet.errors import ConfigError, NeighbourHung, OutOfMemory, Superseded
from dualnet.exchange.run.host import ProcessId
from dualnet.fs import Fs
from dualnet.process.stopping import STOP_SIGNALS, Stopped
from dualnet.report.lives import read_lives
from dualnet.rundir import RunDir
from dualnet.training.history import recorder
from dualnet.training.history.recorder import Recorder, exit_code_of, recorded


@pytest.fixture
def piece(tmp_path):
    return RunDir(str(tmp_path)).piece("net1")


@pytest.fixture
def processes(monkeypatch):
    """Lets each recorder be a process of its own."""
    real, pids = ProcessId.current(), iter(range(10**7, 10**8))

    def next_one():
        pid = next(pids)
        monkeypatch.setattr(ProcessId, "current", staticmethod(lambda: replace(real, pid=pid)))

    return next_one


class Clock(Fs):
    """A clock that tests advance."""

    now_s = 1_764_296_252.0

    def wall_time(self):
        return self.now_s

    def monotonic(self):
        return self.now_s - 1e9


def states(piece):
    return [life.state for life in read_lives(piece)]


def test_a_life_from_its_start_to_its_end(piece):
    clock, iteration = Clock(), 4
    one = Recorder(piece, clock)
    clock.now_s += 2
    assert read_lives(piece) == []
    one.begin({"dualnet": "1"}, lambda: iteration)
    (life,) = read_lives(piece)
    assert (life.number, life.state, life.began) == (1, "running", "2025-11-28T02:17:32+00:00")
    assert (life.first_iteration, life.last_iteration, life.wall_s) == (4, None, None)
    assert life.process["pid"] == os.getpid() and life.facts == {"dualnet": "1"}
    clock.now_s, iteration = clock.now_s + 8.25, 9
    one.end(None)
    (life,) = read_lives(piece)
    assert (life.state, life.ended, life.exit_code) == ("done", "2025-11-28T02:17:42+00:00", 0)
    assert (life.first_iteration, life.last_iteration, life.wall_s) == (4, 9, 10.25)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (Stopped(signal.SIGTERM, "the same command goes on"), "stopped", 0),
        (Stopped(signal.SIGUSR1), "stopped", 128 + signal.SIGUSR1),
        (KeyboardInterrupt(), "stopped", 130),
        (NeighbourHung("net2 hangs\nso it does"), "failed", 72),
        (ZeroDivisionError(), "failed", 1),
    ],
)
def test_an_error_is_recorded_and_raised(piece, error, state, code):
    with pytest.raises(type(error)), recorded(piece) as life:
        life.begin({}, lambda: 0)
        raise error
    (life,) = read_lives(piece)
    assert (life.state, life.exit_code) == (state, code)
    assert life.error == (" ".join(str(error).split()) or type(error).__name__)


def test_what_has_not_begun_leaves_nothing(piece):
    with pytest.raises(ConfigError), recorded(piece):
        raise ConfigError("no")
    with recorded(piece):
        pass
    assert os.listdir(piece.run.path) == []


def test_a_killed_life_is_given_its_end_by_the_next(piece, processes):
    for _ in range(3):
        processes()
        last = Recorder(piece)
        last.begin({}, lambda: 0)
    assert states(piece) == ["killed", "killed", "running"]
    last.end(None)
    assert states(piece) == ["killed", "killed", "done"]
    assert [life.number for life in read_lives(piece)] == [1, 2, 3]


def test_the_next_life_may_begin_before_the_last_has_said_its_end(piece, processes):
    processes()
    one = Recorder(piece)
    one.begin({}, lambda: 0)
    processes()
    two = Recorder(piece)
    two.begin({}, lambda: 0)
    one.end(None)
    assert states(piece) == ["done", "running"]
    two.end(Superseded("another process has taken over"))
    assert states(piece) == ["done", "running"]


def test_a_damaged_record_is_put_aside(piece):
    with open(piece.lives, "w") as file:
        file.write("{")
    warnings = []
    Recorder(piece).begin({}, lambda: 0, warnings.append)
    assert states(piece) == ["running"]
    (aside,) = [name for name in os.listdir(piece.run.path) if name.endswith(".aside")]
    assert len(warnings) == 1 and aside in warnings[0]


class Full(Fs):
    """A disk on which no file can be made."""

    def open(self, path, flags, mode=0o600):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return super().open(path, flags, mode)


def test_a_full_disk_refuses_a_start_but_no_end(piece):
    one = Recorder(piece, Full())
    with pytest.raises(OSError):
        one.begin({}, lambda: 0)
    assert os.listdir(piece.run.path) == []
    one._fs = Fs()
    one.begin({}, lambda: 0)  # as it is tried again
    one._fs = Full()
    one.end(None)
    assert states(piece) == ["running"]
    assert os.listdir(piece.run.path) == ["net1.run.json"]


def _from(cause, error):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("no"), NeighbourHung("hangs"), OutOfMemory("none left"), KeyboardInterrupt(),
        Stopped(signal.SIGTERM), Stopped(signal.SIGTERM, "goes on"), CaffeError("bad net"),
        MemoryError(), RuntimeError("CUDA out of memory"), OSError(errno.EMFILE, "too many"),
        _from(MemoryError(), NeighbourHung("hangs")), _from(MemoryError(), ValueError("large")),
        _from(OSError(errno.EIO, "input/output error"), ConfigError("cannot read")),
        _from(OSError(errno.ENOSPC, "no space"), CaffeError("cannot write")),
    ],
    ids=lambda error: f"{type(error).__name__}-{type(error.__cause__).__name__}",
)  # fmt: skip
def test_the_exit_code_is_the_command_s(error, monkeypatch, capsys):
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}

    def fail(options):
        raise error

    monkeypatch.setattr("dualnet.cli.doctor._doctor", fail, raising=True)
    try:
        code = cli.main(["doctor"])
    except Exception:
        code = 1  # with a traceback
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert exit_code_of(error) == code
    assert recorder.exit_code_of(RuntimeError("anything")) == 1
