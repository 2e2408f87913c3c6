"""The carrier torch in processes of its own, as a launcher starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dualnet.errors import ConfigError
from tests.exchange import piece_process
from tests.exchange.carriers import playing

pytest.importorskip("torch.distributed")
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_two_ranks_with_a_master(tmp_path: Path) -> None:
    """MASTER_ADDR, MASTER_PORT and RANK, as torchrun and batch scripts set them."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    running = []
    for rank, piece in ((1, "net2"), (0, "net1")):
        command = [sys.executable, "-m", piece_process.__name__]
        ranks = {"RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        running.append(
            subprocess.Popen(
                [*command, piece, str(tmp_path), str(tmp_path / "locks"), "", "torch"],
                cwd=ROOT,
                env={**os.environ, **ranks, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for process in running:
            output, _ = process.communicate(timeout=120)
            assert (process.returncode, output) == (0, "")
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_a_rank_that_is_another_piece_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with playing("torch", tmp_path) as made, pytest.raises(ConfigError, match="RANK=1 for net1"):
        made.open("net1")
