"""The failure detector on a clock of its own, and a hung piece at the end of a chain of three."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dualnet.errors import DualnetError, NeighbourDied, NeighbourHung
from dualnet.exchange import ExchangeSettings, Link, Membership, open_link
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.watch import FailureDetector
from tests.exchange.fakes import ELSEWHERE, VirtualFs

LOWER, UPPER = Link("net1", "net2"), Link("net2", "net3")


class Neighbour:
    """net2 as net1 sees it: beats every 5 s, does nothing, and says whom it waits for."""

    piece, epoch = "net2", 1

    def __init__(self, fs: VirtualFs) -> None:
        self.fs = fs
        self.waits_for = ""
        self.progress = 0
        self.state = "running"
        self.is_beating = True
        self._nonce = 0

    def pulse(self) -> Pulse:
        if self.is_beating:
            self._nonce = int(self.fs.now_s // 5)
        return Pulse("", "net2", 1, str(self._nonce), self.progress, self.state, self.waits_for)

    def process(self) -> ProcessId:
        return ELSEWHERE


class Watching:
    def __init__(self, **limits: float) -> None:
        self.fs = VirtualFs()
        self.neighbour = Neighbour(self.fs)
        settings = ExchangeSettings(**limits)
        self.detector = FailureDetector(
            self.fs, self.neighbour, "net1", ProcessId.current(), settings, "run", "down"
        )

    def wait(self, limit_s: float) -> DualnetError | None:
        """The error that ends a wait, None if there is none for so long."""
        end_s = self.fs.now_s + limit_s
        while self.fs.now_s < end_s:
            self.fs.sleep(0.5)
            error = self.detector.poll()
            if error is not None:
                return error
        return None


def test_who_waits_for_a_third_piece_is_not_hung() -> None:
    scene = Watching()
    scene.neighbour.waits_for = "net3"
    assert scene.wait(10_000) is None
    # When it has what it waited for, it has the whole time for its own work.
    scene.neighbour.waits_for = ""
    assert scene.wait(1790) is None
    assert isinstance(scene.wait(20), NeighbourHung)


def test_two_that_wait_for_each_other_are_timed() -> None:
    scene = Watching()
    scene.neighbour.waits_for = "net1"
    assert scene.wait(1790) is None
    error = scene.wait(20)
    assert isinstance(error, NeighbourHung) and "net2 is alive" in str(error)


def test_a_heartbeat_that_has_stopped_is_not_believed() -> None:
    scene = Watching()
    scene.neighbour.waits_for = "net3"
    assert scene.wait(100) is None
    scene.neighbour.is_beating = False
    assert isinstance(scene.wait(70), NeighbourDied)


def test_who_has_ended_does_not_hang_however_long_a_new_start_may_take() -> None:
    """net2 ended because net3 hangs; net1 gives it the time to be started again."""
    scene = Watching(hang_timeout_s=20.0, restart_grace_s=300.0)
    scene.neighbour.waits_for = "net3"
    assert scene.wait(100) is None
    scene.neighbour.state = "failed: NeighbourHung: net3 is alive but has made no progress"
    scene.neighbour.waits_for, scene.neighbour.is_beating = "", False
    assert scene.wait(290) is None
    scene.neighbour.epoch, scene.neighbour.state, scene.neighbour.is_beating = 2, "running", True
    assert scene.wait(15) is None
    assert isinstance(scene.wait(10), NeighbourHung)


def test_the_first_cause_is_named_along_a_chain() -> None:
    scene = Watching()
    scene.neighbour.state = (
        "failed: NeighbourDied: net3 is gone while down 4 was awaited: failed: NeighbourHung: net4 "
        "is alive but has made no progress"
    )
    error = scene.wait(2)
    assert str(error).startswith(
        "net2 is gone while down was awaited: failed: NeighbourHung: net4 is alive but"
    )
    assert "net3" not in str(error)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[tuple[VirtualFs, dict[tuple[str, Link], FileChannel]]]:
    """Three pieces on three machines with one clock, which beat when they are told."""
    fs, opened, ends = VirtualFs(), [], {}
    for number, (piece, links) in enumerate(
        {"net1": [LOWER], "net2": [LOWER, UPPER], "net3": [UPPER]}.items()
    ):
        settings = ExchangeSettings(
            lock_dir=str(tmp_path / piece), hash_threads=0, poll_cap_s=0.5, hang_timeout_s=600.0
        )
        there = ProcessId(f"node{number}", f"boot {number}", "pid:[1]", 1, "1")
        opened.append(Membership(piece, str(tmp_path), settings, {}, fs, there, beat=False))
        for link in links:
            ends[piece, link] = open_link("files", opened[-1], link, settings)
    yield fs, ends  # type: ignore[misc]
    for membership in opened:
        membership.close("stopped")


def test_a_hung_piece_ends_its_neighbour_with_72_and_the_next_one_with_71(
    chain: tuple[VirtualFs, dict[tuple[str, Link], FileChannel]],
) -> None:
    """net3 beats and does nothing: net2 says so, and net1 says what net2 said."""
    fs, ends = chain
    net1, net2, net3 = ends["net1", LOWER], ends["net2", UPPER], ends["net3", UPPER]
    watch = net1._watch("down 0")
    doubts: list[DualnetError] = []
    beaten_s = fs.now_s

    def others_go_on() -> None:
        nonlocal beaten_s
        if fs.now_s - beaten_s >= 5.0:
            beaten_s = fs.now_s
            for end in (net2, net3):
                end.membership.heartbeat.beat()
        net1._neighbour.poll()
        doubt = watch.poll()
        if doubt is not None:
            doubts.append(doubt)

    fs.on_sleep = others_go_on
    with (
        pytest.raises(
            NeighbourHung, match="net3 is alive but has made no progress for 600 s"
        ) as hung,
        net2.membership,
    ):
        net2.receive("down", 0)
    assert hung.value.exit_code == 72
    assert doubts == [], "net1 must not blame net2, which waits"
    with pytest.raises(NeighbourDied) as died:
        net1.receive("down", 0)
    assert died.value.exit_code == 71
    assert "failed: NeighbourHung: net3 is alive but has made no progress for 600 s" in str(
        died.value
    )
    assert fs.now_s - 1000.0 < 620
