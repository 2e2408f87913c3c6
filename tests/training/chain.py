"""Chains of any length, trained in the test's own process: a thread for each piece."""

from __future__ import annotations

import os
import queue
import threading
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np

from dualnet import config as cfg
from dualnet.errors import ManifestMismatch
from dualnet.exchange.channel import Message
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve, write
from dualnet.training.start import handshake


class QueueEnd:
    """One end of a link: two queues, and a record of what was sent."""

    def __init__(self, inbox: queue.Queue, outbox: queue.Queue, sent: list) -> None:
        self.inbox, self.outbox, self.sent = inbox, outbox, sent

    def send(self, message: Message) -> None:
        copies = {name: np.array(values) for name, values in message.arrays.items()}
        copy = Message(message.kind, message.iteration, copies)
        self.sent.append(copy)
        self.outbox.put(copy)

    def receive(self, kind: str, iteration: int) -> Message:
        message = self.inbox.get(timeout=600)
        if message is None:
            raise ManifestMismatch(f"the neighbour has failed; {kind} {iteration} never came")
        if (message.kind, message.iteration) != (kind, iteration):
            raise ManifestMismatch(f"{message.kind} {message.iteration} for {kind} {iteration}")
        return message


@dataclass
class Trained:
    """A chain that has been trained."""

    config: cfg.Config
    nets: dict[str, Nets]
    sessions: dict[str, Session]
    #: What each piece has sent, by (piece, neighbour).
    sent: dict[tuple[str, str], list[Message]]
    #: Name to the losses shown, one an iteration.
    losses: dict[str, list[float]] = field(default_factory=dict)

    def weights(self) -> dict[str, np.ndarray]:
        """`LAYER.INDEX` to values, over all pieces; of dual layers those of the upper piece."""
        found: dict[str, np.ndarray] = {}
        names = original_names(self.config)
        for name, nets in self.nets.items():
            layers = list(nets.train.net.params)
            for key, values in nets.train.parameters(layers).items():
                layer, _, index = key.rpartition(".")
                found[f"{names.get((name, layer), layer)}.{index}"] = np.array(values)
        return found


def original_names(config: cfg.Config) -> dict[tuple[str, str], str]:
    """(piece, its copy of a dual layer) to the layer's name in the uncut net."""
    names: dict[tuple[str, str], str] = {}
    for index, cut in enumerate(config.cuts):
        lower, upper = config.names[index], config.names[index + 1]
        for original, copy in cut.dual.items():
            names[upper, copy] = names.get((lower, original), original)
    return names


def train_chain(
    config: cfg.Config, folder: str, watch: Callable[[Nets, int], None] = lambda nets, done: None
) -> Trained:
    """Train all pieces to their end, once they have found that they fit together.

    Args:
        config: The run.
        folder: For the resolved prototxt and the logs.
        watch: Called in each piece's thread with its nets and the iterations done, 0 at first.

    Raises:
        Exception: What the first piece that failed raised.
    """
    os.makedirs(folder, exist_ok=True)
    nets: dict[str, Nets] = {}
    for name in config.names:
        resolved = resolve(config, RunDir(folder).piece(name))
        write(resolved)
        nets[name] = Nets(config, resolved)
        nets[name].copy_weights()
    ends: dict[str, dict[str, Any]] = {name: {"below": None, "above": None} for name in nets}
    sent: dict[tuple[str, str], list[Message]] = {}
    for lower, upper in zip(config.names, config.names[1:]):
        up, down = queue.Queue(), queue.Queue()
        sent[lower, upper], sent[upper, lower] = [], []
        ends[lower]["above"] = QueueEnd(down, up, sent[lower, upper])
        ends[upper]["below"] = QueueEnd(up, down, sent[upper, lower])
    losses: dict[str, list[float]] = {name: [] for name in nets}
    sessions: dict[str, Session] = {}
    errors: list[BaseException] = []
    for name, net in nets.items():
        log = CaffeLog(net.resolved.dir.log, net.resolved.display)
        sessions[name] = session = Session(net, log)

        def progress(done: int, name: str = name) -> None:
            losses[name].append(sessions[name].lines.loss)
            watch(nets[name], done)

        session.on_progress = progress
    for lower, upper in zip(config.names, config.names[1:]):
        one, two = nets[lower].resolved.above, nets[upper].resolved.below
        hellos = [handshake.describe(nets[lower], sessions[lower], one),
                  handshake.describe(nets[upper], sessions[upper], two)]  # fmt: skip
        handshake.check(*hellos, one)
        handshake.check(*reversed(hellos), two)

    def run(name: str) -> None:
        try:
            watch(nets[name], 0)
            PieceLoop(nets[name], sessions[name], **ends[name]).run()
        except BaseException as error:  # handed to the test
            errors.append(error)
            for end in ends[name].values():
                if end is not None:
                    end.outbox.put(None)

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions.values():
        session.log.close()
    if errors:
        raise errors[0]
    return Trained(config, nets, sessions, sent, losses)
