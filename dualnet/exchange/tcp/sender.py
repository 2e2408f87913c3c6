"""What goes out on the wire: messages, and every few seconds where this half stands.

The training's thread sends its messages itself (`push`). A beating thread says where this half
stands, also after each arrival, and after a new connection sends what the partner lacks.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

from dualnet.exchange.digest import Hasher
from dualnet.exchange.tcp.connection import Broken, Connection
from dualnet.exchange.tcp.message import layout_digest
from dualnet.exchange.tcp.neighbour import Standing
from dualnet.exchange.tcp.store import Store

__all__ = ["Flow", "Sender"]

LOGGER = logging.getLogger(__name__)


@dataclass
class Flow:
    """What goes out on one connection.

    Attributes:
        there: messages that the partner had when it first said so here, -1 before.
        next: the next message to send or claim, 0 until that is known.
        is_introduced: whether it was told our hello.
    """

    connection: Connection
    there: int = -1
    next: int = 0
    is_introduced: bool = False


class Sender:
    """Writes to the present connection, one thread at a time.

    Args:
        standing: where this half stands.
        store: what has been sent.
        hasher: makes digests.
        beat_s: so often it says where this half stands.

    Attributes:
        flow: the present connection's; None without one.
        base: messages sent by earlier processes; -1 until that is known.
        proved: messages that this process has sent or proved.
        resends: messages sent again because they did not arrive.
        is_pushing: whether the training's thread is sending.
    """

    def __init__(self, standing: Standing, store: Store, hasher: Hasher, beat_s: float) -> None:
        self.flow: Flow | None = None
        self.base = -1
        self.proved = 0
        self.resends = 0
        self.is_pushing = False
        self._standing = standing
        self._store = store
        self._hasher = hasher
        self._beat_s = beat_s
        self._said: dict[str, Any] | None = None
        self._replies: deque[dict[str, Any]] = deque()
        self._write_lock = threading.Lock()
        self._wake = threading.Event()
        self._is_leaving = False
        self._beater = threading.Thread(target=self._run, name="dualnet-tcp-beat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._beater.start()

    def stop(self, timeout_s: float) -> None:
        """Beat no more; wait so long for the thread's end."""
        self._is_leaving = True
        self._wake.set()
        if self._beater.is_alive():
            self._beater.join(timeout_s)

    def say(self, hello: dict[str, Any]) -> None:
        """Tell the partner soon, once on each connection, what we say in the handshake."""
        self._said = hello
        self._wake.set()

    def reply(self, fields: dict[str, Any]) -> None:
        """Send the partner an object soon."""
        self._replies.append(fields)
        self._wake.set()

    def tell(self) -> None:
        """Tell the partner soon where we stand."""
        self._wake.set()

    def push(self) -> None:
        """Send all messages up to where we stand, as far as there is a connection."""
        self.is_pushing = True
        try:
            with self._write_lock:
                self._write(partial(self._pump, is_pushing=True))
        finally:
            self.is_pushing = False

    def beat(self) -> None:
        """Say where we stand, answer, and send what the partner lacks."""
        with self._write_lock:
            self._write(self._report)
            self._write(self._pump)

    def finish(self, connection: Connection) -> None:
        """Write no more on a connection."""
        with self._write_lock:
            connection.finish()

    def is_claimed(self, seq: int) -> bool:
        """Whether the partner has yet to say what it thinks of message `seq`."""
        flow = self.flow
        return flow is not None and flow.next > 0 and self.proved < seq <= flow.there

    def _run(self) -> None:
        while not self._is_leaving:
            self._wake.wait(self._beat_s)
            self._wake.clear()
            try:
                self.beat()
            except Exception:  # the next one may work, and nothing may silence a half
                LOGGER.exception("heartbeat over TCP")

    def _write(self, what: Callable[[Flow], None]) -> None:
        """Do something with the connection, if there is one."""
        flow = self.flow
        if flow is None:
            return
        try:
            what(flow)
        except Broken as error:
            LOGGER.info("%s", error)
            flow.connection.close()  # the reader notices
        except BaseException:
            # A signal, say, in the midst of a frame: nothing can follow it.
            flow.connection.close()
            raise

    def _report(self, flow: Flow) -> None:
        while self._replies:
            flow.connection.write_control(self._replies[0])
            self._replies.popleft()
        fields = {"type": "standing", **self._standing.fields()}
        if self._said is not None and not flow.is_introduced:
            fields["hello"] = self._said
            flow.is_introduced = True
        flow.connection.write_control(fields)

    def _pump(self, flow: Flow, is_pushing: bool = False) -> None:
        connection = flow.connection
        if self.base < 0 or flow.there < 0:
            return  # one of us does not know yet where it continues
        if not flow.next:
            flow.next = min(flow.there, self.proved) + 1
        while flow.next <= self._standing.sent:
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
