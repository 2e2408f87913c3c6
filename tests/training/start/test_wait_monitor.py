"""A neighbour that has left, seen from a wait; with processes it is in test_restart.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dualnet.process.stopping import Stopped, Stopper
from dualnet.training.loop.links import Links
from dualnet.training.start import wait_monitor


@pytest.fixture
def wait(monkeypatch):
    """A wait for net2, of which a test says why it has left, "" if it has not."""
    monkeypatch.setattr(wait_monitor, "_CHECK_S", 0.0)
    monkeypatch.setattr(wait_monitor, "_QUIET_S", -1.0)
    lines, shown = [], []
    made = SimpleNamespace(left="", lines=lines, shown=shown, waits=[], presence=SimpleNamespace())
    made.channel = SimpleNamespace(
        neighbour="net2", awaited="down 4", neighbour_left=lambda: made.left
    )
    exchange = SimpleNamespace(restart_grace_s=60.0)
    made.stopper = Stopper(0.0)
    session = SimpleNamespace(
        iteration=4, lines=SimpleNamespace(loss=0.5), on_wait=lambda: made.waits.append(4),
        stopper=made.stopper,
        links=Links([made.channel]),
        nets=SimpleNamespace(config=SimpleNamespace(exchange=exchange)),
        log=SimpleNamespace(warning=lines.append),
        status_file=SimpleNamespace(show=lambda iteration, loss: shown.append((iteration, loss))),
    )  # fmt: skip
    wait_monitor.install_wait_callback(made.presence, session)
    made.on_wait = made.presence.on_wait
    return made


def test_status_is_kept_and_a_neighbour_that_runs_is_not_mentioned(wait):
    wait.on_wait()
    wait.on_wait()
    assert wait.shown == [(4, 0.5)] * 2 and wait.waits == [4, 4] and wait.lines == []


def test_an_absence_is_noted_once_for_each_message(wait):
    wait.left = "it was killed"
    for awaited in ("down 4", "down 4", "down 5"):
        wait.channel.awaited = awaited
        wait.on_wait()
    assert wait.lines == [
        f"net2 is gone (it was killed) while {awaited} is awaited; waiting 60 s at most for it to "
        "be started again"
        for awaited in ("down 4", "down 5")
    ]


def test_nobody_waits_for_one_that_has_left_while_all_are_stopped(wait):
    wait.left = "stopped"
    wait.stopper.requested = True
    with pytest.raises(Stopped):
        wait.on_wait()
    assert wait.lines == []


def test_short_waits_are_not_looked_into(wait, monkeypatch):
    monkeypatch.setattr(wait_monitor, "_QUIET_S", 1e9)
    wait.left = "it was killed"
    wait.on_wait()
    assert wait.lines == []
