"""The two directions of a TCP exchange, whatever happens to the connection.

Three threads share a half's end of the wire. The training's thread sends messages (`push`) and
takes those that have come (`take`). A reader, one for each connection, takes frames in as they
come; it never writes, so two halves that send at the same time cannot block each other. The third
is the sender's (sender.py).

A connection begins with a `hello` from each side. The partner's `arrived` says where to go on: what
it lacks is sent, from memory or from disk; what it has already from an earlier process of ours is
claimed by digest alone (`claim`), and it answers whether that is what it got (`verdict`).
What comes is put in order and compared in incoming.py.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from dualnet.errors import (
    DamagedMessage,
    DualnetError,
    ManifestMismatch,
    Superseded,
)
from dualnet.exchange.digest import Hasher
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp.arrivals import Arrival
from dualnet.exchange.tcp.connection import Broken, Connection, Left, Spoiled
from dualnet.exchange.tcp.incoming import Incoming
from dualnet.exchange.tcp.neighbour import RemoteHalf, Standing
from dualnet.exchange.tcp.sender import Flow, Sender
from dualnet.exchange.tcp.store import Store

__all__ = ["Wire"]

LOGGER = logging.getLogger(__name__)

#: What may lie here unread before the reader takes a rest.
_WINDOW_BYTES = 256 << 20
# A half that leaves gives its last words this long.
_LEAVE_S = 3.0


class Wire:
    """One half's end.

    Args:
        introduction: what the hello says about this process: epoch, life, process, identity.
        partner: what is heard is noted there.
        store: what has been sent.
        settings: limits.
        hasher: makes digests.

    Attributes:
        cond: notified when anything has come or changed.
        standing: where this half stands; change it under `cond`.
    """

    def __init__(
        self,
        introduction: dict[str, Any],
        partner: RemoteHalf,
        store: Store,
        settings: ExchangeSettings,
        hasher: Hasher,
    ) -> None:
        self.standing = Standing()
        self._introduction = introduction
        self._partner = partner
        self._store = store
        self._settings = settings
        self._sender = Sender(self.standing, store, hasher, settings.beat_s)
        self._incoming = Incoming(self.standing, partner, self._sender, settings)
        self.cond = self._incoming.cond
        self._heard_s = 0.0
        self._leave_at_s = float("inf")

    @property
    def base(self) -> int:
        """Messages sent by earlier processes; -1 until that is known."""
        return self._sender.base

    @property
    def resends(self) -> int:
        """Messages sent again because they did not arrive."""
        return self._sender.resends

    @property
    def spoiled(self) -> int:
        """Copies of messages that came and failed a check."""
        return self._incoming.arrivals.spoiled

    @property
    def fatal(self) -> DualnetError | None:
        """What ends the exchange."""
        return self._incoming.fatal

    @property
    def verified(self) -> set[int]:
        """Numbers of messages that equalled those of an earlier process of ours."""
        return self._incoming.verified

    def start(self) -> None:
        """Begin to beat."""
        self._sender.start()

    # For the training's thread.

    def say(self, hello: dict[str, Any]) -> None:
        """Tell the partner what this half has to say in the handshake."""
        self._sender.say(hello)

    def resume(self, sent: int, received: int) -> None:
        """Continue from these counts."""
        with self.cond:
            self._sender.base = self._sender.proved = sent
            self.standing.sent = sent
            self.standing.arrived = self.standing.received = received
        self._sender.tell()

    def push(self, seq: int) -> None:
        """Send all messages up to `seq`, which the store holds, as far as there is a connection."""
        with self.cond:
            self.standing.sent = seq
            self.standing.progress += 1
        self._sender.push()

    def is_claimed(self, seq: int) -> bool:
        """Whether the partner has yet to say what it thinks of message `seq`."""
        return self._sender.is_claimed(seq)

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has come."""
        return self._incoming.peek(seq)

    def take(self, seq: int) -> None:
        """Message `seq` has been read."""
        self._incoming.take(seq)

    def put(self, seq: int, arrival: Arrival) -> None:
        """See `Incoming.put`."""
        self._incoming.put(seq, arrival)

    def fail(self, error: DualnetError) -> None:
        """End the exchange; the first error counts."""
        self._incoming.fail(error)

    def tell(self) -> None:
        """Tell the partner soon where we stand."""
        self._sender.tell()

    def close(self, state: str) -> None:
        """Leave; the partner is told how if it can be reached."""
        self._leave_at_s = time.monotonic() + _LEAVE_S
        with self.cond:
            self.standing.state = state
        self._sender.beat()
        self._sender.stop(_LEAVE_S)
        flow = self._sender.flow
        if flow is not None:
            if flow.connection.finish():
                with self.cond:
                    # Closing with bytes unread would destroy our last words on their way.
                    self.cond.wait_for(lambda: self._sender.flow is not flow, _LEAVE_S)
            flow.connection.close()

    # Reading.

    def serve(self, connection: Connection) -> None:
        """Use a connection until it is broken; runs in a thread of the link."""
        if self._leave_at_s < float("inf"):
            return  # too late for a new one
        self._heard_s = time.monotonic()
        connection.is_idle = self._is_idle
        connection.on_heard = self._hear
        try:
            connection.write_control({"type": "hello", **self._introduction})
            refusal = self._meet(connection, connection.read())
            if refusal is not None:
                connection.write_control({"type": "refused", **refusal})
                connection.finish()
                while True:
                    connection.read()  # until the other side has read it and leaves
            flow = self._begin(connection)
            while True:
                self._take_in(flow, connection.read())
        except Left:
            self._sender.finish(connection)
        except Spoiled as error:
            self._incoming.bear(error)
        except Broken as error:
            LOGGER.info("%s of %s", error, self._partner.role)
        except DualnetError as error:
            self._incoming.fail(error)
        finally:
            self._lose(connection)

    def _is_idle(self) -> bool:
        now_s = time.monotonic()
        silent = now_s - self._heard_s > self._settings.dead_after_s
        return silent or now_s > self._leave_at_s

    def _hear(self) -> None:
        self._heard_s = time.monotonic()
        self._partner.hear()

    def _meet(self, connection: Connection, hello: Any) -> dict[str, str] | None:
        """Take up a connection, or say why not."""
        if not isinstance(hello, dict) or hello.get("type") != "hello":
            raise Broken("the connection did not begin with a hello")
        partner = self._partner
        try:
            identity, life = hello["identity"], str(hello["life"])
            epoch, process = int(hello["epoch"]), dict(hello["process"])
        except (KeyError, TypeError, ValueError) as error:
            raise Broken(f"not a hello of ours: {error}") from error
        if identity != self._introduction["identity"]:
            ours = self._introduction["identity"]
            self._incoming.fail(
                ManifestMismatch(
                    f"{partner.role} runs {identity} and this half {ours}; use the same "
                    f"configuration for both halves"
                )
            )
        with self.cond:
            if life != partner.life:
                taken = epoch == partner.told_epoch and self._sender.flow is not None
                if epoch < partner.told_epoch or taken:
                    return {
                        "why": f"{partner.role} epoch {partner.told_epoch} has taken over from "
                        f"epoch {epoch}"
                    }
                partner.meet(epoch, life, process)
        return None

    def _begin(self, connection: Connection) -> Flow:
        """From here on this is the connection."""
        flow = Flow(connection)
        with self.cond:
            before, self._sender.flow = self._sender.flow, flow
            self._partner.is_connected = True
            self.cond.notify_all()
        if before is not None:
            before.connection.close()
        self._sender.tell()
        return flow

    def _lose(self, connection: Connection) -> None:
        connection.close()
        with self.cond:
            if self._sender.flow is not None and self._sender.flow.connection is connection:
                self._sender.flow = None
                self._partner.is_connected = False
            self.cond.notify_all()

    def _take_in(self, flow: Flow, item: Any) -> None:
        if not isinstance(item, dict):
            seq, message, digest = item
            now_s = time.monotonic()
            self._incoming.put(seq, Arrival(message, digest, flow.connection.began_s, now_s))
            self._rest(flow)
            return
        try:
            self._obey(flow, item)
        except (KeyError, TypeError, ValueError) as error:
            raise Broken(f"not an object of ours: {error}") from error

    def _rest(self, flow: Flow) -> None:
        """Read no further while there is much unread, unless we are sending ourselves."""
        sender = self._sender
        with self.cond:
            while (
                self._incoming.arrivals.nbytes > _WINDOW_BYTES
                and not sender.is_pushing
                and sender.flow is flow
            ):
                self.cond.wait(0.1)
                self._heard_s = time.monotonic()

    def _obey(self, flow: Flow, item: dict[str, Any]) -> None:
        kind = item["type"]
        if kind == "standing":
            with self.cond:
                self._partner.standing.take(item)
                self._partner.hello = item.get("hello", self._partner.hello)
                self.cond.notify_all()
            there = self._partner.standing.arrived
            self._store.arrived(there)
            if flow.there < 0 <= there:
                flow.there = there
                self._sender.tell()
        elif kind == "claim":
            self._incoming.judge(int(item["seq"]), str(item["digest"]))
        elif kind == "verdict":
            self._incoming.accept(int(item["seq"]), str(item["is"]))
        elif kind == "lost":
            self._incoming.fail(
                DamagedMessage(
                    f"message {item['seq']} of {self._partner.role} was deleted, this half would "
                    f"need it to continue; stop both halves and start them again: they go "
                    f"back together to a checkpoint that both have"
                )
            )
        elif kind == "refused":
            self._incoming.fail(
                Superseded(f"{item['why']}; nothing to do, the run goes on without it")
            )
