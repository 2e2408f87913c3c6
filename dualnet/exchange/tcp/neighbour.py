"""The neighbour as seen over TCP: who it is, how far it is, and whether it is alive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable

from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.run.host import ProcessId

__all__ = ["TcpNeighbour", "PeerStatus"]


@dataclass
class PeerStatus:
    """Status that each end sends to its peer.

    Attributes:
        progress, state, waits_for: as in a heartbeat.
        sent: messages sent.
        arrived: messages that have arrived, read or not; -1 until it knows where it continues.
        received: messages that its training loop has consumed.
        checkpointed_sent, checkpointed_received: message counts at the oldest checkpoint that is
            retained.
    """

    progress: int = 0
    state: str = "running"
    waits_for: str = ""
    sent: int = 0
    arrived: int = -1
    received: int = 0
    checkpointed_sent: int = 0
    checkpointed_received: int = 0

    def fields(self) -> dict[str, Any]:
        """For a control frame."""
        return asdict(self)

    def update(self, fields: dict[str, Any]) -> None:
        """Update from a received status; missing fields keep their value.

        Raises:
            ValueError: a field has another type.
        """
        for name, value in vars(self).items():
            received = fields.get(name, value)
            if type(received) is not type(value):
                raise ValueError(f"{name} is {received!r}")
            setattr(self, name, received)


class TcpNeighbour:
    """What the neighbour has sent about itself, for the `FailureDetector`.

    Args:
        piece: the neighbour.
        link: the link's name.
        final_heartbeat: reads how it ended from its heartbeat file; called without a connection.

    Attributes:
        epoch: number of its processes seen, never below the epoch that it reports.
        reported_epoch: the epoch that it reports.
        life: random id of its process, new at every start.
        status: as it sent it last.
        hello: its part of the handshake, None until then.
        is_connected: whether there is a connection.
    """

    def __init__(self, piece: str, link: str, final_heartbeat: Callable[[], Pulse | None]) -> None:
        self.piece, self._link = piece, link
        self.epoch = self.reported_epoch = 0
        self.life = ""
        self.status = PeerStatus()
        self.hello: dict[str, Any] | None = None
        self.is_connected = False
        self._received = 0
        self._process: ProcessId | None = None
        self._final_heartbeat = final_heartbeat

    def accept(self, epoch: int, life: str, process: dict[str, Any]) -> None:
        """Record a new process of the neighbour, whose status and hello are yet to come."""
        self.epoch = max(epoch, self.epoch + 1)
        self.reported_epoch, self.life = epoch, life
        self.status, self.hello = PeerStatus(), None
        self._process = ProcessId.from_fields(process)

    def adopt_final_heartbeat(self) -> None:
        """Take the epoch of a neighbour that started and ended before we ever connected.

        So the wait reports its end instead of NeighbourNeverCame.
        """
        last = self._final_heartbeat() if self.epoch == 0 else None
        if last is not None:
            self.epoch = self.reported_epoch = last.epoch

    def note_alive(self) -> None:
        """Note that bytes have arrived, which proves that it is alive."""
        self._received += 1

    def pulse(self) -> Pulse | None:
        """Its status as a heartbeat; without a connection with its final state, if it wrote one."""
        status = self.status
        state = status.state
        if not self.is_connected:
            last = self._final_heartbeat()
            if last is not None and last.epoch >= self.reported_epoch:
                state = last.state
        nonce = f"{self.life}.{self._received}"
        counts = {self._link: (status.sent, status.received)}
        return Pulse(
            "", self.piece, self.epoch, nonce, status.progress, state, status.waits_for, counts
        )

    def process(self) -> ProcessId | None:
        """Which process it is, None before the first connection."""
        return self._process
