"""The other half as heard over TCP: who it is, how far it is, and whether it is alive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable

from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.run.host import ProcessId

__all__ = ["RemoteHalf", "Standing"]


@dataclass
class Standing:
    """Where a half stands, as it tells its partner.

    Attributes:
        progress: grows whenever it gets something done.
        state: as a heartbeat has it.
        sent: messages sent.
        arrived: messages that have come, read or not; -1 until it knows where it continues.
        received: messages that its training has taken.
        passed_sent, passed_received: messages that the oldest checkpoint kept has behind it.
    """

    progress: int = 0
    state: str = "running"
    sent: int = 0
    arrived: int = -1
    received: int = 0
    passed_sent: int = 0
    passed_received: int = 0

    def fields(self) -> dict[str, Any]:
        """For a control frame."""
        return asdict(self)

    def take(self, fields: dict[str, Any]) -> None:
        """The opposite; what is missing stays, what has another type is refused.

        Raises:
            ValueError: a field has another type.
        """
        for name, value in vars(self).items():
            told = fields.get(name, value)
            if type(told) is not type(value):
                raise ValueError(f"{name} is {told!r}")
            setattr(self, name, told)


class RemoteHalf:
    """What has been heard of the partner; `Watch` judges it by this.

    Args:
        role: the partner's.
        last_words: how it ended, as its heartbeat file says; asked while there is no connection.

    Attributes:
        epoch: starts of the partner that we have met, at least as many as it counts itself.
        told_epoch: its own count.
        life: another one in each process.
        standing: as it said last.
        hello: what it said in the handshake, None until then.
        is_connected: whether there is a connection.
    """

    def __init__(self, role: str, last_words: Callable[[], Pulse | None]) -> None:
        self.role = role
        self.epoch = self.told_epoch = 0
        self.life = ""
        self.standing = Standing()
        self.hello: dict[str, Any] | None = None
        self.is_connected = False
        self._heard = 0
        self._process: ProcessId | None = None
        self._last_words = last_words

    def meet(self, epoch: int, life: str, process: dict[str, Any]) -> None:
        """A process of the partner is there that was not before."""
        self.epoch = max(epoch, self.epoch + 1)
        self.told_epoch, self.life = epoch, life
        self.standing, self.hello = Standing(), None
        self._process = ProcessId.from_fields(process)

    def look_for_last_words(self) -> None:
        """One that came and went before there was a connection has been there all the same."""
        last = self._last_words() if self.epoch == 0 else None
        if last is not None:
            self.epoch = self.told_epoch = last.epoch

    def hear(self) -> None:
        """Bytes have come: it lives."""
        self._heard += 1

    def pulse(self) -> Pulse | None:
        """What its heartbeat would say."""
        told = self.standing
        state = told.state
        if not self.is_connected:
            last = self._last_words()
            if last is not None and last.epoch >= self.told_epoch:
                state = last.state
        nonce = f"{self.life}.{self._heard}"
        return Pulse(
            "", self.role, self.epoch, nonce, told.progress, state, told.sent, told.received
        )

    def process(self) -> ProcessId | None:
        """Which process it is, None before the first connection."""
        return self._process
