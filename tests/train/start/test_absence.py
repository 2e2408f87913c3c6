"""A partner that has left, seen from a wait; with processes it is in test_restart.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import RunDir
from dualnet.train.start import absence


@pytest.fixture
def wait(monkeypatch):
    """A wait for net2, of which a test says how it is: its state, and whether it lives."""
    view = SimpleNamespace(state="running", alive=True)
    monkeypatch.setattr(absence, "peek", lambda run_dir: SimpleNamespace(piece={"net2": view}.get))
    monkeypatch.setattr(absence, "_LOOK_S", 0.0)
    monkeypatch.setattr(absence, "_QUIET_S", -1.0)
    lines, shown = [], []
    channel = SimpleNamespace(partner="net2", awaited="down 4", on_wait=None)
    exchange = SimpleNamespace(restart_grace_s=60.0)
    session = SimpleNamespace(
        dir=RunDir("run").piece("net1"), iteration=4, loss=0.5, stopper=Stopper(0.0),
        nets=SimpleNamespace(config=SimpleNamespace(exchange=exchange)),
        log=SimpleNamespace(warning=lines.append),
        status_file=SimpleNamespace(show=lambda iteration, loss: shown.append((iteration, loss))),
    )  # fmt: skip
    absence.watch_waits(channel, session)
    return SimpleNamespace(
        view=view, channel=channel, stopper=session.stopper, lines=lines, shown=shown
    )


def test_status_is_kept_and_a_partner_that_runs_is_not_talked_about(wait):
    wait.channel.on_wait()
    wait.channel.on_wait()
    assert wait.shown == [(4, 0.5)] * 2 and wait.lines == []


@pytest.mark.parametrize(
    ("state", "is_alive", "why"),
    [
        ("failed: Crash", None, "failed: Crash"),
        ("stopped", None, "stopped"),
        ("running", False, "it was killed"),
    ],
)
def test_an_absence_is_noted_once_for_each_message(wait, state, is_alive, why):
    wait.view.state, wait.view.alive = state, is_alive
    for awaited in ("down 4", "down 4", "down 5"):
        wait.channel.awaited = awaited
        wait.channel.on_wait()
    assert wait.lines == [
        f"net2 is gone ({why}) while {awaited} is awaited; waiting 60 s at most for it to be "
        "started again"
        for awaited in ("down 4", "down 5")
    ]


def test_nobody_waits_for_one_that_has_left_while_both_are_stopped(wait):
    wait.view.state = "stopped"
    wait.stopper.requested = True
    with pytest.raises(Stopped):
        wait.channel.on_wait()
    assert wait.lines == []


def test_short_waits_are_not_looked_into(wait, monkeypatch):
    monkeypatch.setattr(absence, "_QUIET_S", 1e9)
    wait.view.alive = False
    wait.channel.on_wait()
    assert wait.lines == []
