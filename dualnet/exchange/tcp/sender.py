"""What goes out on the wire: messages, and every few seconds this end's status.

The training thread sends its messages itself (`push`). The sender thread sends the status, soon
after an arrival too, which acknowledges it, and after a new connection the messages that the
neighbour lacks. One status acknowledges all that has arrived within `_ACKNOWLEDGE_S`: each of them
wakes two threads here and two there, and nobody waits for one that is not asked for.

The neighbour's first status on a connection decides how each message goes out:

- It is sent if the neighbour lacks it; one that this process has sent before counts as a resend.
- It is claimed if the neighbour has it from an earlier process of this piece, and this process has
  computed it again, from a checkpoint: only its digest is sent (`claim`). The neighbour compares it
  and replies (`verdict`), for which the training thread waits before it sends the next message.

Where neither memory nor disk has a message any more, the neighbour gets `lost`, and fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

from dualnet.exchange.digest import Hasher
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.tcp.connection import Connection, ConnectionLost
from dualnet.exchange.tcp.message import layout_digest
from dualnet.exchange.tcp.neighbour import PeerStatus
from dualnet.exchange.tcp.store import Store

__all__ = ["ConnectionState", "Sender"]

LOGGER = logging.getLogger(__name__)

# Longest time between an arrival and the status that acknowledges it.
_ACKNOWLEDGE_S = 0.1


@dataclass
class ConnectionState:
    """How far one connection is.

    Attributes:
        there: messages that the neighbour already had when this connection began; -1 until its
            first status.
        next: number of the next message to send or claim, 0 until that is known.
        has_hello: whether our hello was sent over it.
    """

    connection: Connection
    there: int = -1
    next: int = 0
    has_hello: bool = False


class Sender:
    """Writes to the current connection, one thread at a time.

    Args:
        status: this end's.
        store: messages that have been sent.
        hasher: makes digests.
        beat_s: time between two statuses.
        pulse: what the heartbeat holds, for the status.

    Attributes:
        flow: the current connection's; None without one.
        base: messages sent by earlier processes; -1 until that is known.
        proved: highest message number that this process has sent or whose replay was confirmed.
        resends: messages resent because they did not arrive.
        is_pushing: whether the training thread is sending.
        final_state: how this piece ends, "" before.
    """

    def __init__(
        self,
        status: PeerStatus,
        store: Store,
        hasher: Hasher,
        beat_s: float,
        pulse: Callable[[], Pulse],
    ) -> None:
        self.flow: ConnectionState | None = None
        self.base = -1
        self.proved = 0
        self.resends = 0
        self.is_pushing = False
        self.final_state = ""
        self._status = status
        self._pulse = pulse
        self._store = store
        self._hasher = hasher
        self._beat_s = beat_s
        self._hello: dict[str, Any] | None = None
        self._replies: deque[dict[str, Any]] = deque()
        self._write_lock = threading.Lock()
        self._wake = threading.Event()
        self._owes_status = False
        self._is_leaving = False
        self._beater = threading.Thread(target=self._run, name="dualnet-tcp-beat", daemon=True)

    def start(self) -> None:
        """Start the sender thread."""
        self._beater.start()

    def stop(self, timeout_s: float) -> None:
        """End the sender thread; wait so long for it."""
        self._is_leaving = True
        self._wake.set()
        if self._beater.is_alive():
            self._beater.join(timeout_s)

    def set_hello(self, hello: dict[str, Any]) -> None:
        """Set the handshake payload; it is sent once per connection."""
        self._hello = hello
        self._wake.set()

    def reply(self, fields: dict[str, Any]) -> None:
        """Send the neighbour an object from the sender thread."""
        self._replies.append(fields)
        self._wake.set()

    def wake(self) -> None:
        """Wake the sender thread so that it sends a status now."""
        self._wake.set()

    def acknowledge(self) -> None:
        """Have a status sent within `_ACKNOWLEDGE_S`."""
        self._owes_status = True

    def push(self) -> None:
        """Send all messages that the status counts, as far as there is a connection."""
        self.is_pushing = True
        try:
            with self._write_lock:
                self._write(partial(self._send_pending, is_pushing=True))
        finally:
            self.is_pushing = False

    def beat(self) -> None:
        """Send status, pending replies and missing messages."""
        with self._write_lock:
            self._write(self._report)
            self._write(self._send_pending)

    def finish(self, connection: Connection) -> None:
        """Write no more on a connection."""
        with self._write_lock:
            connection.finish()

    def is_claimed(self, seq: int) -> bool:
        """Whether message `seq` was claimed by digest only and its verdict is pending."""
        flow = self.flow
        return flow is not None and flow.next > 0 and self.proved < seq <= flow.there

    def _run(self) -> None:
        beaten_s = time.monotonic()
        while not self._is_leaving:
            is_woken = self._wake.wait(min(self._beat_s, _ACKNOWLEDGE_S))
            is_due = time.monotonic() - beaten_s >= self._beat_s
            if not (is_woken or is_due or self._owes_status):
                continue
            self._wake.clear()
            self._owes_status = False
            beaten_s = time.monotonic()
            try:
                self.beat()
            except Exception:  # the next one may work, and nothing may stop a piece from beating
                LOGGER.exception("status over TCP")

    def _write(self, what: Callable[[ConnectionState], None]) -> None:
        """Do something with the connection, if there is one."""
        flow = self.flow
        if flow is None:
            return
        try:
            what(flow)
        except ConnectionLost as error:
            LOGGER.info("%s", error)
            flow.connection.close()  # the reader notices
        except BaseException:
            # An exception (for example Stopped from a signal handler) may have cut a frame in two;
            # the stream cannot continue.
            flow.connection.close()
            raise

    def _report(self, flow: ConnectionState) -> None:
        """Send pending replies, then the status, with the hello if the connection has not had it.

        A reply is dropped only when it has been written: it goes out over the next connection if
        this one is gone.

        Raises:
            ConnectionLost: the connection is gone.
        """
        while self._replies:
            flow.connection.write_control(self._replies[0])
            self._replies.popleft()
        pulse, status = self._pulse(), self._status
        status.progress, status.waits_for = pulse.progress, pulse.waits_for
        status.state = self.final_state or pulse.state
        fields = {"type": "status", **status.fields()}
        if self._hello is not None and not flow.has_hello:
            fields["hello"] = self._hello
            flow.has_hello = True
        flow.connection.write_control(fields)

    def _send_pending(self, flow: ConnectionState, is_pushing: bool = False) -> None:
        """Send or claim the messages that the connection has not had yet, in order.

        The first is number min(there, proved) + 1: the neighbour lacks those after `there`, and has
        yet to compare those after `proved`. What lies before either of them needs nothing more.

        Args:
            flow: the connection.
            is_pushing: called by the training thread, which owns the arrays; see `Store.load`.

        Raises:
            ConnectionLost: the connection is gone.
        """
        connection = flow.connection
        if self.base < 0 or flow.there < 0:
            return  # one end does not know yet where it continues
        if not flow.next:
            flow.next = min(flow.there, self.proved) + 1
        while flow.next <= self._status.sent:
            seq = flow.next
            found = self._store.load(seq, is_live=is_pushing)
            if found is None:
                connection.write_control({"type": "lost", "seq": seq})
                return
            if seq <= flow.there:
                digest = layout_digest(*found, self._hasher)
                connection.write_control({"type": "claim", "seq": seq, "digest": digest})
            else:
                connection.write_message(seq, *found)
                self.resends += seq <= self.proved
                self.proved = max(self.proved, seq)
            flow.next = seq + 1
