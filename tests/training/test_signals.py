"""A signal between any two calls of a training, its start and its end included.

The signals are real and arrive in this process, at a place that is counted in Python calls.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import traceback

import pytest

from dualnet.errors import DualnetError
from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import RunDir
from dualnet.training.start import run as run_module
from tests.training.pieces import load
from tests.training.starting import train_one, train_single
from tests.training.test_restart import equal

SHORT = ("train.max_iter=5", "train.display=1", "train.test_interval=3", "train.test_iter=1",
         "train.snapshot=2", "exchange.restart_grace_s=60",
         "exchange.partner_timeout_s=60")  # fmt: skip


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch):
    """Builds one net at a time: Caffe's random numbers belong to the process."""
    lock, real = threading.Lock(), run_module.Nets

    def build(config, resolved):
        with lock:
            return real(config, resolved)

    monkeypatch.setattr(run_module, "Nets", build)


def as_the_command(train, *arguments):
    """Train as the command does, which takes the signals before it does anything."""
    with Stopper(20.0) as stopper:
        stopper.defer()
        return train(*arguments, stopper=stopper)


def signalled(number, places, run):
    """Run something; this process gets a signal at each of the places."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        if event == "call":
            calls += 1
            if calls in places:
                os.kill(os.getpid(), number)

    # Beyond both ends of what is run, where the command has handlers of its own.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    sys.setprofile(count)
    try:
        return run()
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGTERM, before)


def calls_of(run):
    """How many calls something takes."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


@contextlib.contextmanager
def told_plainly():
    """A signal may come at an instruction that Python gives no line; pytest then ends all tests."""
    try:
        yield
    except Exception as error:
        told = "".join(traceback.format_exception_only(type(error), error))
        raise AssertionError(f"a start between signals: {told}") from None


def lives(run, number, total, chance, count):
    """Start something again and again; each time a signal comes, and soon after it another.

    Returns:
        How often it was stopped.
    """
    stops = 0
    for _ in range(count):
        # How many calls a wait takes is chance; the first signal comes before there is one.
        place = chance.randrange(*((0, total) if stops else (1000, 2000)))
        try:
            if signalled(number, {place, place + chance.randrange(1, 60)}, run) is not None:
                break  # the signal came too late
        except Stopped as error:
            assert error.can_resume and error.exit_code == (130 if number == signal.SIGINT else 0)
            assert "the same command continues" in str(error)
            stops += 1
        except KeyboardInterrupt:
            assert number == signal.SIGINT
            stops += 1
    return stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_single_net_stops_anywhere_and_goes_on(workdir, number):
    config, chance = load(*SHORT), random.Random(number)
    total = calls_of(lambda: train_single(config, RunDir("whole")))
    stops = lives(
        lambda: as_the_command(train_single, config, RunDir("parts")), number, total, chance, 8
    )
    train_single(config, RunDir("parts"))
    assert stops
    equal("whole", "parts", ["single"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("carrier", ["files", "tcp"])
def test_a_piece_stops_anywhere_and_goes_on(workdir, carrier, number):
    config = load(*SHORT, f"exchange.carrier={carrier}")
    chance = random.Random(f"{carrier}{number}")
    errors = []

    def neighbour(run_dir):
        try:
            train_one(config, RunDir(run_dir).piece("net2"))
        except DualnetError as error:  # handed to the test
            errors.append(error)

    def beside(run_dir, run):
        other = threading.Thread(target=neighbour, args=(run_dir,), daemon=True)
        other.start()
        result = run()
        other.join(60)
        assert errors == [] and not other.is_alive()
        return result

    def net1(run_dir):
        return as_the_command(train_one, config, RunDir(run_dir).piece("net1"))

    total = beside("whole", lambda: calls_of(lambda: net1("whole")))

    def signals():
        stops = lives(lambda: net1("parts"), number, total, chance, 8)
        net1("parts")
        return stops

    with told_plainly():
        assert beside("parts", signals)
    equal("whole", "parts")
