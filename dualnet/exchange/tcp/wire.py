"""The two directions of a TCP exchange, whatever happens to the connection.

Three threads share this end of the wire. The training thread sends messages (`push`) and consumes
those that have arrived (`take`). A reader, one for each connection, reads frames as they come;
after the hello it never writes, so two pieces that send at the same time cannot block each other.
The third is the sender (sender.py).

A connection begins with a `hello` from each side. The neighbour's `arrived` tells where to
continue: messages that it lacks are sent, from memory or from disk; those that it has already from
an earlier process of ours are claimed by digest alone (`claim`), and it answers whether they are
equal (`verdict`). What arrives is put in order and compared in incoming.py.

They share two locks. `cond`, which is reentrant, guards what has arrived and the counts of both
ends. The write lock of the sender keeps frames whole; whoever holds it may wait for the network. No
thread takes one of the two while it holds the other.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Callable

from dualnet.errors import (
    DamagedMessage,
    DualnetError,
    ManifestMismatch,
    Superseded,
)
from dualnet.exchange.digest import Hasher
from dualnet.exchange.run.heartbeat import Pulse
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp.arrivals import Arrival
from dualnet.exchange.tcp.connection import Connection, ConnectionLost, CorruptMessage, PeerClosing
from dualnet.exchange.tcp.incoming import Incoming
from dualnet.exchange.tcp.neighbour import PeerStatus, TcpNeighbour
from dualnet.exchange.tcp.sender import ConnectionState, Sender
from dualnet.exchange.tcp.store import Store

__all__ = ["Wire"]

LOGGER = logging.getLogger(__name__)

#: Bytes of unread messages at which the reader stops.
_WINDOW_BYTES = 256 << 20
# Seconds allowed for delivering the final status on close.
_LEAVE_S = 3.0


class Wire:
    """One end of a link over TCP.

    Args:
        introduction: what the hello says about this process: epoch, life, process, identity.
        neighbour: updated by what is received.
        store: messages that have been sent.
        settings: limits.
        hasher: makes digests.
        pulse: what the heartbeat holds, for the status.

    Attributes:
        cond: notified when anything has arrived or changed.
        status: this end's; change it under `cond`.
    """

    def __init__(
        self,
        introduction: dict[str, Any],
        neighbour: TcpNeighbour,
        store: Store,
        settings: ExchangeSettings,
        hasher: Hasher,
        pulse: Callable[[], Pulse],
    ) -> None:
        self.status = PeerStatus()
        self._introduction = introduction
        self._neighbour = neighbour
        self._store = store
        self._settings = settings
        self._sender = Sender(self.status, store, hasher, settings.beat_s, pulse)
        self._incoming = Incoming(self.status, neighbour, self._sender, settings)
        self.cond = self._incoming.cond
        self._received_s = 0.0
        self._leave_at_s = float("inf")

    @property
    def base(self) -> int:
        """Messages sent by earlier processes; -1 until that is known."""
        return self._sender.base

    @property
    def resends(self) -> int:
        """Messages resent because they did not arrive."""
        return self._sender.resends

    @property
    def corrupt(self) -> int:
        """Copies of messages that failed a check."""
        return self._incoming.arrivals.corrupt

    @property
    def fatal(self) -> DualnetError | None:
        """The error that ends the exchange."""
        return self._incoming.fatal

    @property
    def verified(self) -> set[int]:
        """Numbers of messages that equalled those of an earlier process of ours."""
        return self._incoming.verified

    def start(self) -> None:
        """Start the sender thread."""
        self._sender.start()

    # For the training thread; `put`, `fail` and `wake` are called by readers and connectors, too.

    def set_hello(self, hello: dict[str, Any]) -> None:
        """Set the handshake payload, and send it once per connection; takes no lock."""
        self._sender.set_hello(hello)

    def resume(self, sent: int, received: int) -> None:
        """Continue from these counts of messages, before the first `push` or `take`.

        Until then no message is sent or accepted. Takes `cond`.

        Args:
            sent: messages that earlier processes had sent at the checkpoint.
            received: messages that they had received.
        """
        with self.cond:
            self._sender.base = self._sender.proved = sent
            self.status.sent = sent
            self.status.arrived = self.status.received = received
        self._sender.wake()

    def push(self, seq: int) -> None:
        """Send all messages up to `seq`, which the store holds, as far as there is a connection.

        Takes `cond`, then the write lock while it sends; without a connection the sender thread
        sends them when there is one.
        """
        with self.cond:
            self.status.sent = seq
        self._sender.push()

    def is_claimed(self, seq: int) -> bool:
        """Whether message `seq` was claimed by digest only and its verdict is pending."""
        return self._sender.is_claimed(seq)

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has arrived."""
        return self._incoming.peek(seq)

    def take(self, seq: int) -> None:
        """Mark message `seq` as consumed by the training loop and release its memory.

        Takes `cond`. A reader that has stopped because too much was unread goes on.
        """
        self._incoming.take(seq)

    def put(self, seq: int, arrival: Arrival) -> None:
        """See `Incoming.put`; takes `cond`."""
        self._incoming.put(seq, arrival)

    def fail(self, error: DualnetError) -> None:
        """End the exchange; the first error counts. Takes `cond`."""
        self._incoming.fail(error)

    def wake(self) -> None:
        """Send a status now, from the sender thread."""
        self._sender.wake()

    def close(self, state: str) -> None:
        """Send the final state if there is a connection, and close that.

        Each step waits `_LEAVE_S` at most.
        """
        self._leave_at_s = time.monotonic() + _LEAVE_S
        self._sender.final_state = state
        self._sender.beat()
        self._sender.stop(_LEAVE_S)
        flow = self._sender.flow
        if flow is not None:
            if flow.connection.finish():
                with self.cond:
                    # close() on a socket with unread input sends RST, which can discard our final
                    # status at the peer: let the reader drain the connection first.
                    self.cond.wait_for(lambda: self._sender.flow is not flow, _LEAVE_S)
            flow.connection.close()

    # Reading.

    def serve(self, connection: Connection) -> None:
        """Use a connection until it is lost; runs in a thread of the connector."""
        if self._leave_at_s < float("inf"):
            return  # too late for a new one
        self._received_s = time.monotonic()
        connection.is_idle = self._is_idle
        connection.on_received = self._note_alive
        try:
            connection.write_control({"type": "hello", **self._introduction})
            refusal = self._check_hello(connection, connection.read())
            if refusal is not None:
                connection.write_control({"type": "refused", **refusal})
                connection.finish()
                while True:
                    connection.read()  # until the other side has read it and leaves
            flow = self._begin(connection)
            while True:
                self._receive(flow, connection.read())
        except PeerClosing:
            self._sender.finish(connection)
        except CorruptMessage as error:
            self._incoming.request_resend(error)
        except ConnectionLost as error:
            LOGGER.info("%s of %s", error, self._neighbour.piece)
        except DualnetError as error:
            self._incoming.fail(error)
        finally:
            self._lose(connection)

    def _is_idle(self) -> bool:
        """Whether a connection is to be given up: nothing received for too long, or we leave."""
        now_s = time.monotonic()
        silent = now_s - self._received_s > self._settings.dead_after_s
        return silent or now_s > self._leave_at_s

    def _note_alive(self) -> None:
        self._received_s = time.monotonic()
        self._neighbour.note_alive()

    def _check_hello(self, connection: Connection, hello: Any) -> dict[str, str] | None:
        """Check the peer's hello.

        Returns:
            None to accept it, or the fields of a `refused` reply for an old epoch or a second
            process of the same epoch. A different configuration ends the exchange with
            ManifestMismatch.
        """
        if not isinstance(hello, dict) or hello.get("type") != "hello":
            raise ConnectionLost("the connection did not begin with a hello")
        neighbour = self._neighbour
        try:
            identity, life = hello["identity"], str(hello["life"])
            epoch, process = int(hello["epoch"]), dict(hello["process"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConnectionLost(f"not a hello of ours: {error}") from error
        if identity != self._introduction["identity"]:
            ours = self._introduction["identity"]
            self._incoming.fail(
                ManifestMismatch(
                    f"{neighbour.piece} runs {identity} and this piece {ours}; use the same "
                    f"configuration for all pieces"
                )
            )
        with self.cond:
            if life != neighbour.life:
                taken = epoch == neighbour.reported_epoch and self._sender.flow is not None
                if epoch < neighbour.reported_epoch or taken:
                    return {
                        "why": f"{neighbour.piece} epoch {neighbour.reported_epoch} has taken over "
                        f"from epoch {epoch}"
                    }
                neighbour.accept(epoch, life, process)
        return None

    def _begin(self, connection: Connection) -> ConnectionState:
        """Make this the current connection and close the previous one."""
        flow = ConnectionState(connection)
        with self.cond:
            before, self._sender.flow = self._sender.flow, flow
            self._neighbour.is_connected = True
            self.cond.notify_all()
        if before is not None:
            before.connection.close()
        self._sender.wake()
        return flow

    def _lose(self, connection: Connection) -> None:
        """Close a connection; if it is the current one, there is none from now on."""
        connection.close()
        with self.cond:
            if self._sender.flow is not None and self._sender.flow.connection is connection:
                self._sender.flow = None
                self._neighbour.is_connected = False
            self.cond.notify_all()

    def _receive(self, flow: ConnectionState, item: Any) -> None:
        """Handle what `Connection.read` returned: a message, or a control object.

        Raises:
            ConnectionLost: it is no object of ours, or a message before it is missing.
        """
        if not isinstance(item, dict):
            seq, message, digest = item
            now_s = time.monotonic()
            self._incoming.put(seq, Arrival(message, digest, flow.connection.began_s, now_s))
            self._apply_backpressure(flow)
            return
        try:
            self._handle_control(flow, item)
        except (KeyError, TypeError, ValueError) as error:
            raise ConnectionLost(f"not an object of ours: {error}") from error

    def _apply_backpressure(self, flow: ConnectionState) -> None:
        """Stop reading while more than _WINDOW_BYTES are unread.

        Keep reading while the training thread sends: two pieces that both send and do not read
        would deadlock.
        """
        sender = self._sender
        with self.cond:
            while (
                self._incoming.arrivals.nbytes > _WINDOW_BYTES
                and not sender.is_pushing
                and sender.flow is flow
            ):
                self.cond.wait(0.1)
                self._received_s = time.monotonic()

    def _handle_control(self, flow: ConnectionState, item: dict[str, Any]) -> None:
        """Dispatch a control object by its type: status, claim, verdict, lost, refused."""
        kind = item["type"]
        if kind == "status":
            with self.cond:
                self._neighbour.status.update(item)
                self._neighbour.hello = item.get("hello", self._neighbour.hello)
                self.cond.notify_all()
            there = self._neighbour.status.arrived
            self._store.arrived(there)
            if flow.there < 0 <= there:
                flow.there = there
                self._sender.wake()
        elif kind == "claim":
            self._incoming.judge(int(item["seq"]), str(item["digest"]))
        elif kind == "verdict":
            self._incoming.accept(int(item["seq"]), str(item["is"]))
        elif kind == "lost":
            self._incoming.fail(
                DamagedMessage(
                    f"message {item['seq']} of {self._neighbour.piece} was deleted, this piece "
                    f"would need it to continue; stop all pieces and start them again: they go "
                    f"back together to a checkpoint that all have"
                )
            )
        elif kind == "refused":
            self._incoming.fail(
                Superseded(f"{item['why']}; nothing to do, the run goes on without it")
            )
