"""A half driven alone does what it does with its partner: the same messages, by shape and order."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.bench.memory.stand_in import Fabricated
from dualnet.train.loop.links import Links
from dualnet.train.loop.piece import PieceLoop
from tests.train.halves import make_half, make_session, train_both

RULES = [
    ["coupling.target=gradient"],
    ["coupling.target=prox", "coupling.tie=every"],
    ["coupling.target=admm", "coupling.alternations=2"],
    ["coupling.target=backprop"],
    ["coupling.target=frozen", "coupling.loss=none"],
]


class Recorder(Fabricated):
    """Notes what goes through it."""

    def __init__(self, half):
        (end,) = half.resolved.ends
        super().__init__(half, end)
        self.received, self.sent = [], []

    def receive(self, stage, iteration):
        message = super().receive(stage, iteration)
        self.received.append((stage, iteration, shapes(message.arrays)))
        return message

    def send(self, message):
        super().send(message)
        self.sent.append((message.kind, message.iteration, shapes(message.arrays)))


def shapes(arrays):
    # A label is the same as (N,) and as (N, 1, 1, 1).
    return {
        name: tuple(size for size in np.shape(values) if size != 1)
        for name, values in arrays.items()
    }


@pytest.mark.parametrize("role", ["net1", "net2"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[0].partition("=")[2])
def test_messages_are_those_of_a_real_partner(workdir, role, rule):
    real = train_both(str(workdir / "real"), *rule)
    half = make_half(role, str(workdir / "alone"), *rule)
    channel = Recorder(half)
    session = make_session(half)
    session.links = Links([channel])
    loop = PieceLoop(half, session, **{"above" if role == "net1" else "below": channel})
    for iteration in range(3):
        loop.step(iteration)
    session.log.close()
    by_sender = {"net1": [], "net2": []}
    for sender, message in real.line.sent:
        if (message.kind, message.iteration) != ("tie", 0):  # before the first iteration
            told = shapes(message.arrays)
            by_sender[sender].append((message.kind, message.iteration, told))
    assert channel.sent == by_sender[role]
    assert channel.received == by_sender[channel.partner]


def test_arrays_are_in_memory_and_the_last_message_is_kept(workdir):
    half = make_half("net2", str(workdir / "alone"))
    channel = Fabricated(half, half.resolved.below)
    pool2 = channel.receive("up", 0).arrays["pool2"]
    assert pool2.shape == tuple(half.train.net.blobs["pool2"].shape) and (pool2 != 0).all()
    assert channel.counters.messages_received == 1
    assert channel.counters.bytes_received > pool2.nbytes
