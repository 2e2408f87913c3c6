"""Pieces are killed with SIGKILL at random moments and started again; the result is the same."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.exchange import trainer_process
from tests.exchange.trainer_process import ITERATIONS, initial

ROOT = Path(__file__).parents[2]
KILLS = 5
# Iterations that a piece gets at least before the next kill; well below ITERATIONS / KILLS.
LONGEST_LIFE = 30


def expected(pieces: int) -> dict[str, str]:
    """The digests of an undisturbed training, computed without any exchange."""
    states = [initial() for _ in range(pieces)]
    for _ in range(ITERATIONS):
        x = np.zeros(1)
        for state in states[:-1]:
            x = np.sin(state + x)
        states[-1] = np.cos(states[-1] + x)
        for number in range(pieces - 2, -1, -1):
            states[number] = states[number] + states[number + 1] / 7
    return {
        f"net{number}": hashlib.sha256(state.tobytes()).hexdigest()
        for number, state in enumerate(states, 1)
    }


def start(
    piece: str, pieces: int, run_dir: Path, tmp_path: Path, carrier: str
) -> subprocess.Popen[str]:
    """Start a piece."""
    command = [sys.executable, "-m", trainer_process.__name__]
    return subprocess.Popen(
        [*command, piece, str(pieces), str(run_dir), str(tmp_path / "locks"), carrier],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("carrier", "victims"),
    [
        ("files", ["net1", "net2"]),
        # A piece in the middle is killed as often as the others together.
        ("files", ["net1", "net2", "net2", "net3"]),
        ("tcp", ["net1", "net2", "net2", "net3"]),
    ],
)
def test_kills_change_nothing(
    run_dir: Path, tmp_path: Path, carrier: str, victims: list[str]
) -> None:
    chance = random.Random(1701)
    digests = expected(len(set(victims)))

    def launch(piece: str) -> subprocess.Popen[str]:
        return start(piece, len(digests), run_dir, tmp_path, carrier)

    running = {piece: launch(piece) for piece in digests}
    try:
        for _ in range(KILLS):
            piece = chance.choice(victims)
            victim = running[piece]
            assert victim.stdout is not None
            # Lines are read until the moment of death, which falls anywhere in an iteration.
            for _ in range(chance.randrange(1, LONGEST_LIFE)):
                line = victim.stdout.readline()
                assert line.strip().isdigit(), line + victim.stdout.read()
            victim.kill()
            victim.communicate()
            running[piece] = launch(piece)
        for piece, digest in digests.items():
            output, _ = running[piece].communicate(timeout=120)
            assert running[piece].returncode == 0, output
            assert output.split()[-1] == digest
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
            process.communicate()
    assert not list((run_dir / "exchange").rglob(".tmp.*.tmp"))
