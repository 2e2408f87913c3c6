"""The end of a run: one piece is done, the other dies, and comes back early, late, or too late."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dualnet.errors import NeighbourDied
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.start import wait_monitor
from tests.training.deaths import POINTS, Deaths
from tests.training.pieces import load
from tests.training.starting import CHAIN
from tests.training.test_restart import equal

SHORT = ("train.max_iter=5", "train.display=1", "train.test_interval=3", "train.test_iter=1",
         "train.snapshot=2", "exchange.restart_grace_s=60")  # fmt: skip
CARRIERS = ("files", "tcp")


@pytest.fixture
def whole(workdir, monkeypatch):
    """The run as it is without deaths."""
    with monkeypatch.context() as patch:
        Deaths(patch, {}).both(load(*SHORT), "whole")
    return "whole"


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_wait_in_the_end_is_noted_in_the_log(workdir, whole, monkeypatch, carrier):
    # net2 dies after it has read all but before its count says so, or in its last test; net1 is
    # done and waits for it, longer than it takes to write a line about that.
    monkeypatch.setattr(wait_monitor, "_QUIET_S", 0.0)
    monkeypatch.setattr(wait_monitor, "_CHECK_S", 0.0)
    config = load(*SHORT, f"exchange.carrier={carrier}")
    deaths = Deaths(monkeypatch, {"net2": ["last test"]})
    noted = "net2 is gone (it was killed) while net2 to read the rest is awaited"

    def until_noted():
        deadline = time.monotonic() + 30
        while noted not in Path("parts/net1.log").read_text():
            assert deaths.errors == [] and time.monotonic() < deadline

    deaths.pauses["net2"] = until_noted
    deaths.both(config, "parts")
    assert deaths.errors == []
    equal(whole, "parts")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_piece_that_gave_up_in_the_end_goes_on_with_the_other(
    workdir, whole, monkeypatch, carrier
):
    config = load(*SHORT, f"exchange.carrier={carrier}", "exchange.restart_grace_s=0")
    deaths = Deaths(monkeypatch, {"net2": ["last test"]})
    net1 = threading.Thread(target=deaths.train, args=(config, "net1", "parts"), daemon=True)

    net1.start()
    deaths.pauses["net2"] = net1.join
    deaths.train(config, "net2", "parts", limit=1)
    net1.join(60)
    assert [(name, type(error)) for name, error in deaths.errors] == [("net1", NeighbourDied)]
    assert commit.complete(RunDir("parts").piece("net1")) is False
    deaths.errors.clear()
    deaths.both(config, "parts")
    assert deaths.errors == []
    equal(whole, "parts")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_neighbour_that_becomes_complete_is_not_waited_for(workdir, whole, monkeypatch, carrier):
    # net1 is killed before it can say that it is complete, and comes back while net2, which has
    # all that net1 had to say, is about to say so.
    config = load(*SHORT, f"exchange.carrier={carrier}", "exchange.partner_timeout_s=30")
    deaths = Deaths(monkeypatch, {"net1": ["complete"]})
    is_waiting, real = threading.Event(), commit.mark_complete

    def mark(piece, iteration):
        if piece.name == "net2":
            assert is_waiting.wait(30)
        elif deaths.starts.get("net1", 0) > 1:  # it met net2 in the handshake, and waits no more
            is_waiting.set()
        real(piece, iteration)

    monkeypatch.setattr(commit, "mark_complete", mark)
    usual = commit.complete

    def complete(piece, *rest):
        if piece.name == "net2" and deaths.starts.get("net1", 0) > 1:
            looks.append(usual(piece, *rest))
            if len(looks) > 2:
                is_waiting.set()
            return looks[-1]
        return usual(piece, *rest)

    looks = []
    monkeypatch.setattr(commit, "complete", complete)
    deaths.both(config, "parts")
    assert deaths.errors == [] and looks[0] is False
    equal(whole, "parts")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_neighbour_that_was_killed_when_it_was_complete_is_not_waited_for(
    workdir, whole, monkeypatch, carrier
):
    # net2 is killed between its record and its last heartbeat, net1 before its own record; net1
    # then sends the last test again, which nobody will read.
    config = load(*SHORT, f"exchange.carrier={carrier}", "exchange.restart_grace_s=0",
                  "exchange.partner_timeout_s=20")  # fmt: skip
    deaths = Deaths(monkeypatch, {"net1": ["complete"], "net2": ["marked complete"]})

    def until_net2_is_dead():
        deadline = time.monotonic() + 30
        while deaths.plan["net2"]:
            assert time.monotonic() < deadline

    deaths.pauses["net1"] = until_net2_is_dead
    deaths.both(config, "parts")
    assert deaths.errors == [] and deaths.deaths == 2
    equal(whole, "parts")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_deaths_of_both_anywhere_in_the_end_change_nothing(workdir, whole, monkeypatch, carrier):
    # All points for both, in one run: each start comes one point further.
    config = load(*SHORT, f"exchange.carrier={carrier}")
    deaths = Deaths(monkeypatch, {name: list(POINTS) for name in CHAIN})
    deaths.both(config, "parts")
    assert deaths.errors == [] and deaths.deaths > 10
    equal(whole, "parts")
    # Killed while it deleted the last messages: the same command deletes the rest.
    deaths.both(config, "parts")
    assert not list(Path("parts/exchange").rglob("*.npy"))
