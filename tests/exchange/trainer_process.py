"""A half that trains, checkpoints and resumes, as a process of its own; its state is one array.

Arguments: piece, run directory, lock directory, carrier. The last line of output is the digest of
the state, which depends on all that was ever received.
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
from dualnet.exchange import Channel, ExchangeSettings, Message, open_channel

ITERATIONS = 300
CHECKPOINT_EVERY = 15


class Trainer:
    """Alternates like the two nets do; every element received changes the state for ever."""

    def __init__(self, piece: str) -> None:
        self.piece = piece
        self.state = np.linspace(0.0, 1.0, 5000)
        self.iteration = 0
        self.place = (0, 0)

    def step(self, channel: Channel) -> None:
        """One iteration."""
        if self.piece == "net1":
            channel.send(Message("up", self.iteration, {"x": np.sin(self.state)}))
            self.state = self.state + channel.receive("down", self.iteration).arrays["y"] / 7
        else:
            self.state = np.cos(self.state + channel.receive("up", self.iteration).arrays["x"])
            channel.send(Message("down", self.iteration, {"y": self.state}))
        self.iteration += 1

    def save(self, path: Path, channel: Channel) -> None:
        """Write a durable checkpoint and tell the channel."""
        self.place = channel.seq_sent, channel.seq_received
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            pickle.dump(self.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        channel.checkpoint_passed(self.iteration)


def main(piece: str, run_dir: str, lock_dir: str, carrier: str = "files") -> int:
    """Train from the last checkpoint to the end."""
    settings = ExchangeSettings(partner_timeout_s=60.0, restart_grace_s=60.0, lock_dir=lock_dir)
    path = Path(run_dir) / f"{piece}.checkpoint"
    trainer = Trainer(piece)
    if path.exists():
        trainer.__dict__.update(pickle.loads(path.read_bytes()))
    try:
        with open_channel(carrier, piece, run_dir, settings, {}) as channel:
            channel.handshake({"iteration": trainer.iteration})
            channel.resume(*trainer.place)
            while trainer.iteration < ITERATIONS:
                trainer.step(channel)
                if trainer.iteration % CHECKPOINT_EVERY == 0:
                    trainer.save(path, channel)
                time.sleep(0.003)
                print(trainer.iteration, flush=True)
    except DualnetError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return error.exit_code
    print(hashlib.sha256(trainer.state.tobytes()).hexdigest(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
