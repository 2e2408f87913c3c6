"""The view from outside, of runs in all states of disrepair."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dualnet.exchange.channel import Message
from dualnet.exchange.peek import peek
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import FaultyFs

GARBAGE = [b"", b"\0" * 600, b"x {", b"x []", b"x " + b"[" * 400, b"\xff" * 9]


def sample() -> Message:
    """A message."""
    return Message("train", 7, {"pool2": np.zeros((2, 2), np.float32)})


def everything(run_dir: Path) -> list[Path]:
    """All files of the exchange."""
    return sorted(path for path in (run_dir / "exchange").rglob("*") if path.is_file())


def test_running(open_end: OpenEnd, run_dir: Path) -> None:
    net1, net2 = open_end("net1"), open_end("net2")
    net1.send(sample())
    net2.receive("train", 7)
    net2.checkpoint_passed(8)
    net2.membership.heartbeat.beat()
    view = peek(str(run_dir))
    assert view.problems == []
    assert view.identity == {"config": "c0ffee", "digest": "sha256"}
    first, second = view.piece("net1"), view.piece("net2")
    link = first.links["net1-net2"]
    assert (first.epoch, link.sent, link.kind, link.iteration) == (1, 1, "train", 7)
    assert (first.sent, first.kept_bytes) == (1, 256 + 16)
    assert (second.state, second.received, second.checkpoint) == ("running", 1, 8)
    assert first.alive is True and str(os.getpid()) in first.process
    assert first.heartbeat_age_s is not None and first.heartbeat_age_s < 60


def test_nothing_there(tmp_path: Path) -> None:
    view = peek(str(tmp_path / "nowhere"))
    assert view.problems and view.run_id == ""
    assert view.piece("net1").epoch == 0


def test_one_piece_never_came_and_the_other_failed(open_end: OpenEnd, run_dir: Path) -> None:
    open_end("net1").membership.close("failed: out of memory")
    view = peek(str(run_dir))
    assert view.piece("net1").state == "failed: out of memory"
    assert view.piece("net2").epoch == 0


@pytest.mark.parametrize("what", ["secret", "manifest.json"])
def test_without_secret_or_manifest_it_shows_what_the_records_say(
    open_end: OpenEnd, run_dir: Path, what: str
) -> None:
    net1 = open_end("net1")
    net1.send(sample())
    (run_dir / "exchange" / what).unlink()
    view = peek(str(run_dir))
    assert view.problems
    assert view.piece("net1").links["net1-net2"].iteration == 7
    assert view.piece("net1").state == "running"


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_everywhere(open_end: OpenEnd, run_dir: Path, content: bytes) -> None:
    open_end("net1").send(sample())
    for path in everything(run_dir):
        path.write_bytes(content)
    view = peek(str(run_dir))
    assert view.piece("net1").epoch == 1
    assert len(view.problems) >= 3


def test_each_operation_fails(open_end: OpenEnd, run_dir: Path) -> None:
    open_end("net1").send(sample())
    fs = FaultyFs()
    for persistent in (False, True):
        fail_at = 0
        while True:
            fs.arm(fail_at, 5, persistent)
            view = peek(str(run_dir), fs)
            if not fs.failed:
                break
            assert set(view.pieces) <= {"net1", "net2"}
            fail_at += 1
        assert fail_at > 15


def test_it_writes_nothing(open_end: OpenEnd, run_dir: Path) -> None:
    open_end("net1").send(sample())

    def state() -> dict[str, tuple[int, float]]:
        found = everything(run_dir)
        return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}

    before = state()
    peek(str(run_dir))
    assert state() == before
