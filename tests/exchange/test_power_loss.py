"""A machine loses power: what was not synced is gone, the checkpoints are not. Training goes on.

On a local disk messages are not brought to stable storage (it costs more than the exchange itself),
so after a power loss any message file or status record may be whole, old, empty, torn or missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualnet.exchange.channel import Message
from dualnet.exchange.files.channel import FileChannel
from tests.exchange.conftest import OpenEnd


class Trainer:
    """Two pieces in lockstep whose state is one number each: enough to see any wrong message."""

    def __init__(self) -> None:
        self.lower = np.float64(1.0)
        self.upper = np.float64(2.0)
        self.iteration = 0

    def copy(self) -> Trainer:
        """A checkpoint."""
        other = Trainer()
        other.__dict__.update(self.__dict__)
        return other

    def step(self, net1: FileChannel, net2: FileChannel) -> None:
        """One iteration of both pieces."""
        number = self.iteration
        net1.send(Message("up", number, {"x": np.full(50, np.sin(self.lower * (number + 1)))}))
        x = net2.receive("up", number).arrays["x"]
        self.upper = np.cos(self.upper + x[7])
        net2.send(Message("down", number, {"y": np.full(30, self.upper)}))
        self.lower = self.lower + net1.receive("down", number).arrays["y"][3] / 3
        self.iteration += 1


def lose_power(root: Path, records: dict[Path, list[bytes]], random: np.random.RandomState) -> None:
    """Take back, at random, what was never synced."""
    for path in sorted(root.glob("*.npy")):
        fate = random.randint(6)
        size = path.stat().st_size
        if fate == 0:
            path.unlink()
        elif fate == 1:
            path.write_bytes(b"")
        elif fate == 2:
            path.write_bytes(bytes(size))
        elif fate == 3:
            path.write_bytes(path.read_bytes()[: random.randint(size + 1)])
    for path, history in records.items():
        path.write_bytes(history[random.randint(len(history))])
    for path in sorted(root.glob("*.layout.*")):
        if random.randint(3) == 0:
            path.write_bytes(b"")


@pytest.mark.parametrize("seed", range(8))
def test_training_ends_as_if_nothing_had_happened(open_end: OpenEnd, seed: int) -> None:
    random = np.random.RandomState(seed)
    expected = Trainer()
    net1, net2 = open_end("net1"), open_end("net2")
    root = Path(net1._paths.root)
    lose_at = sorted(random.choice(np.arange(1, 25), 2, replace=False))

    trainer = Trainer()
    checkpoint, place = trainer.copy(), (0, 0)
    records: dict[Path, list[bytes]] = {}
    while trainer.iteration < 25:
        if trainer.iteration % 4 == 0:
            checkpoint, place = trainer.copy(), (net1.seq_sent, net1.seq_received)
            net1.checkpoint_passed(trainer.iteration)
            net2.checkpoint_passed(trainer.iteration)
        trainer.step(net1, net2)
        for end in (net1, net2):
            path = Path(end._paths.status(end.piece, end.epoch))
            records.setdefault(path, []).append(path.read_bytes())
        if lose_at and trainer.iteration == lose_at[0]:
            lose_at.pop(0)
            for end in (net1, net2):
                end.membership.close("stopped")
            lose_power(root, records, random)
            records = {}
            trainer = checkpoint.copy()
            net1, net2 = open_end("net1"), open_end("net2")
            net1.resume(*place)
            net2.resume(*place)

    class Direct:
        """The same training without any exchange."""

        def __init__(self, inbox: list, outbox: list) -> None:
            self.inbox, self.outbox = inbox, outbox

        def send(self, message: Message) -> None:
            self.outbox.append(message)

        def receive(self, kind: str, iteration: int) -> Message:
            return self.inbox.pop(0)

    up: list = []
    down: list = []
    while expected.iteration < 25:
        expected.step(Direct(down, up), Direct(up, down))  # type: ignore[arg-type]
    assert (trainer.lower, trainer.upper) == (expected.lower, expected.upper)
