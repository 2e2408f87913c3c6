"""Halves are killed with SIGKILL at random moments and started again; the result is the same."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.exchange import trainer_process
from tests.exchange.trainer_process import ITERATIONS

ROOT = Path(__file__).parents[2]
KILLS = 5
# Iterations that a half gets at least before the next kill; well below ITERATIONS / KILLS.
LONGEST_LIFE = 30


def expected() -> dict[str, str]:
    """The digests of an undisturbed training, computed without any exchange."""
    lower = upper = np.linspace(0.0, 1.0, 5000)
    for _ in range(ITERATIONS):
        upper = np.cos(upper + np.sin(lower))
        lower = lower + upper / 7
    return {
        "net1": hashlib.sha256(lower.tobytes()).hexdigest(),
        "net2": hashlib.sha256(upper.tobytes()).hexdigest(),
    }


def start(piece: str, run_dir: Path, tmp_path: Path, carrier: str) -> subprocess.Popen[str]:
    """Start a half."""
    command = [sys.executable, "-m", trainer_process.__name__]
    return subprocess.Popen(
        [*command, piece, str(run_dir), str(tmp_path / "locks"), carrier],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("carrier", ["files", "tcp"])
def test_kills_change_nothing(run_dir: Path, tmp_path: Path, carrier: str) -> None:
    chance = random.Random(1701)
    running = {piece: start(piece, run_dir, tmp_path, carrier) for piece in ("net1", "net2")}
    try:
        for _ in range(KILLS):
            piece = chance.choice(["net1", "net2"])
            victim = running[piece]
            assert victim.stdout is not None
            # Lines are read until the moment of death, which falls anywhere in an iteration.
            for _ in range(chance.randrange(1, LONGEST_LIFE)):
                line = victim.stdout.readline()
                assert line.strip().isdigit(), line + victim.stdout.read()
            victim.kill()
            victim.communicate()
            running[piece] = start(piece, run_dir, tmp_path, carrier)
        for piece, digest in expected().items():
            output, _ = running[piece].communicate(timeout=120)
            assert running[piece].returncode == 0, output
            assert output.split()[-1] == digest
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
            process.communicate()
    assert not list((run_dir / "exchange/net1-net2").glob(".tmp.*.tmp"))
