"""What a piece writes about itself while it trains, and the speed that it measures."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest

from dualnet.rundir import RunDir
from dualnet.training.gauge.status_file import StatusFile
from dualnet.training.loop.links import Links


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock; a test moves it."""
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.s)
    return now


@pytest.fixture
def made(tmp_path, clock):
    """A status file, and what it says."""
    links = SimpleNamespace(waiting=None, by_link={})
    file = StatusFile(RunDir(str(tmp_path)).piece("net1"), 5000, links)
    path = tmp_path / "net1.status.json"
    return SimpleNamespace(file=file, links=links, read=lambda: json.loads(path.read_text()))


def test_it_is_written_at_most_once_a_second(tmp_path, clock):
    file = StatusFile(RunDir(str(tmp_path)).piece("net1"), 50, Links())
    path = tmp_path / "net1.status.json"
    file.begin(0)
    file.show(1, 0.5)
    assert not path.exists()
    for _ in range(70):
        clock.s += 0.1
        file.show(int((clock.s - 100) * 4), float("nan"))
    facts = json.loads(path.read_text())
    assert facts["iterations_per_s"] == pytest.approx(4, rel=0.1)
    assert facts["loss"] is None and facts["max_iter"] == 50
    # Bytes are counted from the start, and so are the iterations that they are divided by.
    assert facts["done"] == facts["iteration"]
    assert [name for name in os.listdir(tmp_path) if "tmp" in name] == []


def test_one_that_cannot_be_written_is_no_error(tmp_path, clock):
    file = StatusFile(RunDir(str(tmp_path / "gone")).piece("net1"), 50, Links())
    clock.s = 1e9
    file.show(1, 0.5)
    assert os.listdir(tmp_path) == []


def test_iterations_of_earlier_starts_make_no_speed(made, clock):
    """A piece that continued from iteration 2000 was said to make hundreds of them a second."""
    for iteration in (0, 0, 2000, 2000):  # it reads its checkpoint, and joins its neighbours
        clock.s += 6.0
        made.file.show(iteration, 0.5)
        assert made.read()["iterations_per_s"] is None and made.read()["done"] == 0
    made.file.begin(2000)
    for k in range(1, 15):
        clock.s += 0.5
        made.file.show(2000 + k, 0.5)
    assert made.read()["iterations_per_s"] == pytest.approx(2.0)
    assert 12 <= made.read()["done"] <= 14


def test_the_speed_is_not_zero_within_an_iteration_that_takes_long(made, clock):
    made.file.begin(0)
    for iteration in (1, 2, 3):
        for _ in range(40):
            clock.s += 0.5
            made.file.show(iteration - 1, 0.5)
        clock.s += 0.5
        made.file.show(iteration, 0.5, now=True)
        assert made.read()["iterations_per_s"] == pytest.approx(1 / 20.5)


def test_a_wait_is_told_with_whom_and_for_how_long(made, clock):
    assert made.file.wait == ("", 0.0)
    made.links.waiting = SimpleNamespace(neighbour="net2", awaited="down 7")
    made.file.show(7, 0.5)
    clock.s += 12.0
    made.file.show(7, 0.5)
    assert made.file.wait == ("net2", 12.0)
    facts = made.read()
    assert (facts["waits_for"], facts["awaited"], facts["waits_s"]) == ("net2", "down 7", 12.0)
    made.links.waiting.awaited = "down 8"
    made.file.show(8, 0.5)
    assert made.file.wait == ("net2", 0.0)
    made.links.waiting = None
    made.file.show(8, 0.5)
    assert made.file.wait == ("", 0.0)
