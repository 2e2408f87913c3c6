"""Two real processes on one real directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exchange import piece_process

ROOT = Path(__file__).parents[2]


class Pieces:
    """Starts pieces and ends those that a test leaves behind."""

    def __init__(self, run_dir: Path, lock_dir: Path, carrier: str) -> None:
        self.run_dir = run_dir
        self.lock_dir = lock_dir
        self.carrier = carrier
        self.started: list[subprocess.Popen[str]] = []

    def start(self, piece: str, mode: str = "") -> subprocess.Popen[str]:
        """Start a piece."""
        command = [sys.executable, "-m", piece_process.__name__]
        process = subprocess.Popen(
            [*command, piece, str(self.run_dir), str(self.lock_dir), mode, self.carrier],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a piece; its exit code and output."""
        output, _ = process.communicate(timeout=120)
        return process.returncode, output


@pytest.fixture(params=["files", "tcp"])
def pieces(request: pytest.FixtureRequest, run_dir: Path, tmp_path: Path) -> Iterator[Pieces]:
    """No process outlives its test."""
    pieces = Pieces(run_dir, tmp_path / "locks", request.param)
    yield pieces
    for process in pieces.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_two_hundred_messages_each_way(pieces: Pieces) -> None:
    net2 = pieces.start("net2")
    net1 = pieces.start("net1")
    assert pieces.end(net1) == (0, "")
    assert pieces.end(net2) == (0, "")
    # Checkpoints at 160, 180, 200: what the oldest two have behind them is gone.
    left = sorted((pieces.run_dir / "exchange/net1-net2").glob("net2.i*.npy"))
    assert len(left) < 200
    assert not list((pieces.run_dir / "exchange/net1-net2").glob(".tmp*"))


@pytest.mark.parametrize("victim", ["net1", "net2"])
def test_killed_neighbour_is_noticed(pieces: Pieces, victim: str) -> None:
    """Immediately, on one machine: not after the 60 s that a silent heartbeat takes."""
    survivor = pieces.start("net2" if victim == "net1" else "net1")
    dying = pieces.start(victim, "sleep")
    assert dying.stdout is not None
    assert dying.stdout.readline() == "sleeping\n"
    dying.kill()  # not waited for yet: it stays a zombie
    code, output = pieces.end(survivor)
    assert code == 71
    assert "no longer exists" in output and "NeighbourDied" in output


def test_exception_in_the_neighbour_is_quoted(pieces: Pieces) -> None:
    survivor = pieces.start("net1")
    pieces.start("net2", "raise")
    code, output = pieces.end(survivor)
    assert code == 71
    assert "failed: RuntimeError: out of cheese" in output


def test_second_copy(pieces: Pieces) -> None:
    net2 = pieces.start("net2")
    sleeping = pieces.start("net1", "sleep")
    assert sleeping.stdout is not None
    assert sleeping.stdout.readline() == "sleeping\n"
    code, output = pieces.end(pieces.start("net1"))
    assert code == 75 and "another net1 of this run is running on this node" in output
    sleeping.kill()
    assert pieces.end(net2)[0] == 71
