"""Judging the neighbour: four ends of a wait, and what must not end it. Virtual time throughout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualnet.errors import DualnetError, NeighbourDied, NeighbourHung, NeighbourNeverCame
from dualnet.exchange.channel import Message
from dualnet.exchange.files.channel import FileChannel
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import ELSEWHERE, VirtualFs


def message() -> Message:
    """What net2 answers."""
    return Message("train", 0, {"conv3p": np.ones((2, 3), np.float32)})


class Scene:
    """net1 waits on this machine, net2 runs elsewhere: only its heartbeat tells of it."""

    def __init__(self, open_end: OpenEnd, **settings: float) -> None:
        self.fs = VirtualFs()
        self.net2 = open_end("net2", process=ELSEWHERE)
        # half a second between polls keeps hours of virtual time short.
        self.net1 = open_end("net1", fs=self.fs, poll_cap_s=0.5, **settings)
        self.beat_s = 5.0
        self.beats = lambda: True
        self.each_beat: Callable[[], None] = lambda: None
        self._beaten_s = self.fs.now_s
        self.fs.on_sleep = self.move

    def move(self) -> None:
        while self.fs.now_s - self._beaten_s >= self.beat_s and self.beats():
            self._beaten_s += self.beat_s
            self.each_beat()
            self.net2.membership.heartbeat.beat()

    def wait(self) -> DualnetError:
        with pytest.raises(DualnetError) as caught:
            self.net1.receive("train", 0)
        return caught.value

    @property
    def waited_s(self) -> float:
        return self.fs.now_s - 1000.0


def test_never_came(open_end: OpenEnd) -> None:
    fs = VirtualFs()
    net1 = open_end("net1", fs=fs)
    with pytest.raises(NeighbourNeverCame, match=r"net2 did not start within 600 s in .*exchange"):
        net1.handshake({})
    assert 600 <= fs.now_s - 1000.0 < 605
    assert max(fs.slept_s) <= 0.02


def test_silent(open_end: OpenEnd) -> None:
    scene = Scene(open_end)
    scene.beats = lambda: scene.fs.now_s < 1100.0
    error = scene.wait()
    assert isinstance(error, NeighbourDied)
    assert "heartbeat has been unchanged for 60 s" in str(error)
    assert 155 < scene.waited_s < 165


def test_failed_with_its_message(open_end: OpenEnd) -> None:
    scene = Scene(open_end)
    scene.net2.membership.close("failed: MemoryError: 8 GB wanted")
    error = scene.wait()
    assert isinstance(error, NeighbourDied) and error.exit_code == 71
    assert "MemoryError: 8 GB wanted" in str(error)
    assert "train 0 (message 1)" in str(error)
    assert scene.waited_s < 2.0


def test_exception_in_one_piece_reaches_the_other(open_end: OpenEnd) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    with pytest.raises(ZeroDivisionError), net2.membership:
        raise ZeroDivisionError("division by zero")
    with pytest.raises(NeighbourDied, match="failed: ZeroDivisionError: division by zero"):
        net1.receive("train", 0)


def test_left_too_early(open_end: OpenEnd) -> None:
    scene = Scene(open_end)
    scene.net2.membership.close("done")
    assert "done" in str(scene.wait())


def test_hung(open_end: OpenEnd) -> None:
    scene = Scene(open_end)
    error = scene.wait()
    assert isinstance(error, NeighbourHung) and error.exit_code == 72
    assert "no progress for 1800 s" in str(error)
    assert 1800 <= scene.waited_s < 1810


def test_slow_is_not_hung(open_end: OpenEnd) -> None:
    """Progress every 1000 s is slow; the wait ends 1800 s after the last."""
    scene = Scene(open_end)
    done = []

    def progress() -> None:
        if scene.fs.now_s < 6000 and scene.waited_s // 1000 > len(done):
            done.append(scene.waited_s)
            scene.net2.membership.heartbeat.progress()

    scene.each_beat = progress
    assert isinstance(scene.wait(), NeighbourHung)
    assert len(done) == 4
    assert scene.waited_s > 4000 + 1795


def test_a_standstill_of_ours_is_no_death_of_the_neighbour(open_end: OpenEnd) -> None:
    """Stopped for an hour, or the server hung: the neighbour's heartbeat is old, not dead."""
    scene = Scene(open_end)
    stalls = []

    def stall() -> None:
        if scene.waited_s > 20 and not stalls:
            stalls.append(scene.fs.now_s)
            scene.fs.now_s += 3600.0
        elif scene.waited_s > 3650 and scene.net2.seq_sent == 0:
            scene.net2.send(message())
        scene.move()

    # The neighbour, too, was cut off: it beats again only some seconds later.
    scene.beats = lambda: not stalls or scene.fs.now_s > stalls[0] + 3630
    scene.fs.on_sleep = stall
    assert scene.net1.receive("train", 0).arrays["conv3p"].shape == (2, 3)
    assert stalls


def test_a_message_sent_just_before_the_end_counts(open_end: OpenEnd) -> None:
    scene = Scene(open_end)

    def send_and_leave() -> None:
        if scene.waited_s > 3 and not scene.net2.membership._closed:
            scene.net2.send(message())
            scene.net2.membership.close("stopped")

    scene.fs.on_sleep = send_and_leave
    assert scene.net1.receive("train", 0).iteration == 0


def test_restart_grace(open_end: OpenEnd) -> None:
    """A survivor waits for a dead neighbour's replacement, and takes its message."""
    scene = Scene(open_end, restart_grace_s=100.0)
    scene.net2.membership.close("stopped")
    started: list[FileChannel] = []

    def start_again() -> None:
        if scene.waited_s > 50 and not started:
            started.append(open_end("net2", process=ELSEWHERE))
            started[0].send(message())

    scene.fs.on_sleep = start_again
    assert scene.net1.receive("train", 0).iteration == 0
    assert started[0].epoch == 2


def test_restart_grace_ends(open_end: OpenEnd) -> None:
    scene = Scene(open_end, restart_grace_s=100.0)
    scene.net2.membership.close("stopped")
    assert isinstance(scene.wait(), NeighbourDied)
    assert 100 < scene.waited_s < 105


def test_wall_clock_decides_nothing(open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(open_end)
    jumps = iter([3600.0, -3600.0] * 10**6)
    monkeypatch.setattr("time.time", lambda: next(jumps))
    scene.beats = lambda: scene.fs.now_s < 1100.0
    assert isinstance(scene.wait(), NeighbourDied)
    assert 155 < scene.waited_s < 165
