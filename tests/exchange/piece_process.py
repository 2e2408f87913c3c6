"""One piece as a process: piece, run directory, lock directory, mode and carrier as arguments.

Messages have random sizes that both sides can compute, so each checks every byte that it receives.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from dualnet.errors import DualnetError
from dualnet.exchange import Channel, ExchangeSettings, Link, Membership, Message, open_link

MESSAGES = 200


def payload(piece: str, iteration: int) -> Message:
    """What `piece` sends in an iteration; about 40 kB, now and then 2 MB."""
    random = np.random.RandomState([1 if piece == "net1" else 2, iteration])
    size = int(random.randint(1, 20_000)) if iteration % 50 else 500_000
    arrays = {"data": random.rand(size).astype(np.float32)}
    if piece == "net1":
        arrays["label"] = random.randint(0, 10, iteration % 7).astype(np.float32)
    return Message("train", iteration, arrays)


def check(received: Message, piece: str) -> None:
    """Compare with what was sent."""
    for name, array in payload(piece, received.iteration).arrays.items():
        np.testing.assert_array_equal(received.arrays[name], array)


def exchange(channel: Channel, mode: str) -> None:
    """200 messages each way."""
    for iteration in range(MESSAGES):
        if channel.piece == "net1":
            channel.send(payload("net1", iteration))
        check(channel.receive("train", iteration), channel.neighbour)
        if channel.piece == "net2":
            channel.send(payload("net2", iteration))
        if iteration % 20 == 19:
            channel.checkpoint_passed(iteration + 1)
        if mode == "sleep" and iteration == 5:
            print("sleeping", flush=True)
            time.sleep(600)
        if mode == "raise" and iteration == 5:
            raise RuntimeError("out of cheese")


def main(piece: str, run_dir: str, lock_dir: str, mode: str, carrier: str = "files") -> int:
    """Run one piece; returns the exit code."""
    settings = ExchangeSettings(partner_timeout_s=20.0, lock_dir=lock_dir)
    try:
        with Membership(piece, run_dir, settings, {"config": "c0ffee"}) as membership:
            channel = open_link(carrier, membership, Link("net1", "net2"), settings)
            channel.handshake({"piece": piece})
            exchange(channel, mode)
    except DualnetError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return error.exit_code
    except RuntimeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
