"""A piece that trains, checkpoints and resumes, as a process of its own; its state is one array.

Arguments: piece, pieces in the chain, run directory, lock directory, carrier. The last line of
output is the digest of the state, which depends on all that was ever received.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np

from dualnet.errors import DualnetError
from dualnet.exchange import Channel, ExchangeSettings, Link, Membership, Message, open_link

ITERATIONS = 300
CHECKPOINT_EVERY = 15


def initial() -> np.ndarray:
    """Every piece's state before the first iteration, (5000,) float64."""
    return np.linspace(0.0, 1.0, 5000)


class Trainer:
    """Alternates as nets do; every element received changes the state for ever."""

    def __init__(self) -> None:
        self.state = initial()
        self.iteration = 0
        #: Messages sent and received over each link, below first.
        self.counts: list[tuple[int, int]] = []

    def step(self, below: Channel | None, above: Channel | None) -> None:
        """One iteration."""
        i, x = self.iteration, np.zeros(1)
        if below is not None:
            x = below.receive("up", i).arrays["x"]
        if above is not None:
            above.send(Message("up", i, {"x": np.sin(self.state + x)}))
            self.state = self.state + above.receive("down", i).arrays["y"] / 7
        else:
            self.state = np.cos(self.state + x)
        if below is not None:
            below.send(Message("down", i, {"y": self.state}))
        self.iteration += 1

    def save(self, path: Path, channels: list[Channel]) -> None:
        """Write a durable checkpoint and tell the channels."""
        self.counts = [(channel.seq_sent, channel.seq_received) for channel in channels]
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            pickle.dump(self.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for channel in channels:
            channel.checkpoint_passed(self.iteration)


def main(piece: str, pieces: str, run_dir: str, lock_dir: str, carrier: str) -> int:
    """Train from the last checkpoint to the end."""
    settings = ExchangeSettings(partner_timeout_s=60.0, restart_grace_s=60.0, lock_dir=lock_dir)
    number, path = int(piece[len("net") :]), Path(run_dir) / f"{piece}.checkpoint"
    below = Link(f"net{number - 1}", piece) if number > 1 else None
    above = Link(piece, f"net{number + 1}") if number < int(pieces) else None
    trainer = Trainer()
    if path.exists():
        trainer.__dict__.update(pickle.loads(path.read_bytes()))
    try:
        with Membership(piece, run_dir, settings, {}) as membership:
            ends = {
                link: open_link(carrier, membership, link, settings)
                for link in (below, above)
                if link is not None
            }
            channels = list(ends.values())
            for channel in channels:
                channel.handshake({"iteration": trainer.iteration})
            for channel, counts in zip(channels, trainer.counts or [(0, 0)] * 2):
                channel.resume(*counts)
            while trainer.iteration < ITERATIONS:
                trainer.step(*(ends.get(link) if link else None for link in (below, above)))
                if trainer.iteration % CHECKPOINT_EVERY == 0:
                    trainer.save(path, channels)
                time.sleep(0.003)
                print(trainer.iteration, flush=True)
    except DualnetError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return error.exit_code
    print(hashlib.sha256(trainer.state.tobytes()).hexdigest(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
