"""A piece driven alone does as with its neighbours: the same messages, by shape and order."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.bench.cuts import cases
from dualnet.bench.memory.stand_in import FakeChannel
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.training.loop.links import Links
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve, write
from tests.training.chain import train_chain
from tests.training.pieces import make_nets, make_session, train_both

RULES = [
    ["coupling.target=gradient"],
    ["coupling.target=prox", "coupling.tie=every"],
    ["coupling.target=admm", "coupling.alternations=2"],
    ["coupling.target=backprop"],
    ["coupling.target=frozen", "coupling.loss=none"],
]


class Recorder(FakeChannel):
    """Notes what goes through it."""

    def __init__(self, nets, end):
        super().__init__(nets, end)
        self.received, self.sent = [], []

    def receive(self, kind, iteration):
        message = super().receive(kind, iteration)
        self.received.append((kind, iteration, shapes(message.arrays)))
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


@pytest.mark.parametrize("piece", ["net1", "net2"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[0].partition("=")[2])
def test_messages_are_those_of_a_real_neighbour(workdir, piece, rule):
    real = train_both(str(workdir / "real"), *rule)
    nets = make_nets(piece, str(workdir / "alone"), *rule)
    channel = Recorder(nets, *nets.resolved.ends)
    session = make_session(nets)
    session.links = Links([channel])
    loop = PieceLoop(nets, session, **{"above" if piece == "net1" else "below": channel})
    for iteration in range(3):
        loop.step(iteration)
    session.log.close()
    by_sender = {"net1": [], "net2": []}
    for sender, message in real.line.sent:
        if (message.kind, message.iteration) != ("tie", 0):  # before the first iteration
            told = shapes(message.arrays)
            by_sender[sender].append((message.kind, message.iteration, told))
    assert channel.sent == by_sender[piece]
    assert channel.received == by_sender[channel.neighbour]


def test_arrays_are_in_memory_and_the_last_message_is_kept(workdir):
    nets = make_nets("net2", str(workdir / "alone"))
    channel = FakeChannel(nets, nets.resolved.below)
    pool2 = channel.receive("up", 0).arrays["pool2"]
    assert pool2.shape == tuple(nets.train.net.blobs["pool2"].shape) and (pool2 != 0).all()
    assert channel.counters.messages_received == 1
    assert channel.counters.bytes_received > pool2.nbytes


@pytest.mark.parametrize("target", ["gradient", "backprop"])
def test_a_piece_in_the_middle_has_two_neighbours_that_are_not_there(workdir, target):
    settings = ["train.batch_size=4", "train.max_iter=2", "train.test_interval=0",
                "train.snapshot=0", f"coupling.target={target}", "train.schedule=pipelined",
                "train.micro_batches=2"]  # fmt: skip
    (case,) = cases("configs/digits.yaml", settings, ["pool1:conv2+pool2:conv3"], "nets")
    real = train_chain(case.config, "real")
    resolved = resolve(case.config, RunDir("alone").piece("net2"))
    (workdir / "alone").mkdir()
    write(resolved)
    nets = Nets(case.config, resolved)
    below, above = (Recorder(nets, end) for end in (resolved.below, resolved.above))
    with CaffeLog("alone/net2.log") as log:
        session = Session(nets, log, Links([below, above]))
        loop = PieceLoop(nets, session, below=below, above=above)
        for iteration in range(2):
            loop.step(iteration)
    for channel in (below, above):
        assert channel.link.name in ("net1-net2", "net2-net3")
        for seen, ends in (
            (channel.sent, ("net2", channel.neighbour)),
            (channel.received, (channel.neighbour, "net2")),
        ):
            told = [(one.kind, one.iteration, shapes(one.arrays)) for one in real.sent[ends]]
            assert seen == [one for one in told if one[0] != "tie"]
