"""The two directions of a TCP exchange, whatever happens to the connection.

Three threads share a half's end of the wire. The training's thread sends messages (`push`) and
takes those that have come (`take`). A reader, one for each connection, takes frames in as they
come; it never writes, so two halves that send at the same time cannot block each other. A beating
thread says every few seconds, and after each arrival, where this half stands, and after a new
connection sends what the partner lacks.

A connection begins with a `hello` from each side. The partner's `arrived` says where to go on: what
it lacks is sent, from memory or from disk; what it has already from an earlier process of ours is
claimed by digest alone (`claim`), and it answers whether that is what it got (`verdict`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from dualnet.errors import (
    DamagedMessage,
    DeterminismViolated,
    DualnetError,
    ManifestMismatch,
    Superseded,
)
from dualnet.exchange.channel import Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.layout import MessageLayout
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp_frames import Broken, Left, layout_digest
from dualnet.exchange.tcp_partner import RemoteHalf, Standing
from dualnet.exchange.tcp_store import Store

__all__ = ["Arrival", "Wire"]

LOGGER = logging.getLogger(__name__)

#: What may lie here unread before the reader takes a rest.
_WINDOW_BYTES = 256 << 20
# A half that leaves gives its last words this long.
_LEAVE_S = 3.0
# Digests that are remembered where no half can be started again.
_FEW = 64


class Frames(Protocol):
    """A connection that carries objects and messages; see `tcp_frames.Connection`.

    Methods raise Broken. One thread writes and one reads at a time.
    """

    is_idle: Callable[[], bool]
    on_heard: Callable[[], None]
    began_s: float

    def write_control(self, fields: dict[str, Any]) -> None:
        """Send an object."""

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        """Send a message; returns its digest."""

    def read(self) -> dict[str, Any] | tuple[int, Message, str]:
        """The next object, or the next message with its number and digest."""

    def finish(self) -> bool:
        """Nothing more will be written; whether the other side has yet to take what was."""

    def close(self) -> None:
        """Break it off."""


@dataclass(frozen=True)
class Arrival:
    """A message that has come: when its first byte came, and its last."""

    message: Message
    digest: str
    began_s: float
    ended_s: float


@dataclass
class _Flow:
    """What goes out on one connection.

    Attributes:
        there: messages that the partner had when it first said so here, -1 before.
        next: the next message to send or claim, 0 until that is known.
        is_introduced: whether it was told our hello.
    """

    connection: Frames
    there: int = -1
    next: int = 0
    is_introduced: bool = False


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
        fatal: what ends the exchange.
        said: what this half said in the handshake, None until then.
        verified: numbers of messages that equalled those of an earlier process of ours.
        resends: messages sent again because they did not arrive.
        base: messages sent by earlier processes; -1 until that is known.
    """

    def __init__(
        self,
        introduction: dict[str, Any],
        partner: RemoteHalf,
        store: Store,
        settings: ExchangeSettings,
        hasher: Hasher,
    ) -> None:
        self.cond = threading.Condition()
        self.standing = Standing()
        self.fatal: DualnetError | None = None
        self.said: dict[str, Any] | None = None
        self.verified: set[int] = set()
        self.resends = 0
        self.base = -1
        self._introduction = introduction
        self._partner = partner
        self._store = store
        self._settings = settings
        self._hasher = hasher
        self._inbox: dict[int, Arrival] = {}
        self._inbox_bytes = 0
        #: Digests of what has come, as long as the partner may have to prove them.
        self._digests: dict[int, str] = {}
        self._write_lock = threading.Lock()
        self._flow: _Flow | None = None
        self._heard_s = 0.0
        self._is_sending = False
        # Messages that this process has sent or proved.
        self._proved = 0
        self._replies: deque[dict[str, Any]] = deque()
        self._wake = threading.Event()
        self._leave_at_s = float("inf")
        self._is_leaving = False
        self._beater = threading.Thread(target=self._run, name="dualnet-tcp-beat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._beater.start()

    # For the training's thread.

    def say(self, hello: dict[str, Any]) -> None:
        """Tell the partner what this half has to say in the handshake."""
        self.said = hello
        self._wake.set()

    def resume(self, sent: int, received: int) -> None:
        """Continue from these counts."""
        with self.cond:
            self.base = self._proved = sent
            self.standing.sent = sent
            self.standing.arrived = self.standing.received = received
        self._wake.set()

    def push(self, seq: int) -> None:
        """Send all messages up to `seq`, which the store holds, as far as there is a connection."""
        with self.cond:
            self.standing.sent = seq
            self.standing.progress += 1
        self._is_sending = True
        try:
            with self._write_lock:
                self._write(self._pump)
        finally:
            self._is_sending = False

    def is_claimed(self, seq: int) -> bool:
        """Whether the partner has yet to say what it thinks of message `seq`."""
        flow = self._flow
        return flow is not None and flow.next > 0 and self._proved < seq <= flow.there

    def peek(self, seq: int) -> Arrival | None:
        """Message `seq`, if it has come."""
        return self._inbox.get(seq)

    def take(self, seq: int) -> None:
        """Message `seq` has been read."""
        with self.cond:
            arrival = self._inbox.pop(seq, None)
            if arrival is not None:
                self._inbox_bytes -= arrival.message.nbytes
            self.standing.received = seq
            self.standing.progress += 1
            self.cond.notify_all()

    def put(self, seq: int, arrival: Arrival) -> None:
        """A message has come, by whatever way; one that is there already must be the same.

        Raises:
            Broken: one before it is missing.
        """
        with self.cond:
            if seq > self.standing.arrived + 1 or self.standing.arrived < 0:
                raise Broken(f"message {seq} where {self.standing.arrived + 1} was due")
            if seq <= self.standing.arrived:
                self._compare(seq, arrival.digest)
                return
            self._inbox[seq] = arrival
            self._inbox_bytes += arrival.message.nbytes
            self._digests[seq] = arrival.digest
            self.standing.arrived = seq
            self._forget()
            self.cond.notify_all()
        self._wake.set()

    def tell(self) -> None:
        """Tell the partner soon where we stand."""
        self._wake.set()

    def close(self, state: str) -> None:
        """Leave; the partner is told how if it can be reached."""
        self._leave_at_s = time.monotonic() + _LEAVE_S
        with self.cond:
            self.standing.state = state
        self.beat()
        self._is_leaving = True
        self._wake.set()
        if self._beater.is_alive():
            self._beater.join(_LEAVE_S)
        flow = self._flow
        if flow is not None:
            if flow.connection.finish():
                with self.cond:
                    # Closing with bytes unread would destroy our last words on their way.
                    self.cond.wait_for(lambda: self._flow is not flow, _LEAVE_S)
            flow.connection.close()

    # Writing.

    def _run(self) -> None:
        while not self._is_leaving:
            self._wake.wait(self._settings.beat_s)
            self._wake.clear()
            try:
                self.beat()
            except Exception:  # the next one may work, and nothing may silence a half
                LOGGER.exception("heartbeat over TCP")

    def beat(self) -> None:
        """Say where we stand, answer, and send what the partner lacks."""
        with self._write_lock:
            self._write(self._report)
            self._write(self._pump)

    def _write(self, what: Callable[[_Flow], None]) -> None:
        """Do something with the connection, if there is one."""
        flow = self._flow
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

    def _report(self, flow: _Flow) -> None:
        while self._replies:
            flow.connection.write_control(self._replies[0])
            self._replies.popleft()
        fields = {"type": "standing", **self.standing.fields()}
        if self.said is not None and not flow.is_introduced:
            fields["hello"] = self.said
            flow.is_introduced = True
        flow.connection.write_control(fields)

    def _pump(self, flow: _Flow) -> None:
        connection = flow.connection
        if self.base < 0 or flow.there < 0:
            return  # one of us does not know yet where it continues
        if not flow.next:
            flow.next = min(flow.there, self._proved) + 1
        while flow.next <= self.standing.sent:
            seq = flow.next
            found = self._store.load(seq)
            if found is None:
                connection.write_control({"type": "lost", "seq": seq})
                return
            if seq <= flow.there:
                digest = layout_digest(*found, self._hasher)
                connection.write_control({"type": "claim", "seq": seq, "digest": digest})
            else:
                connection.write_message(seq, *found)
                self.resends += seq <= self._proved
                self._proved = max(self._proved, seq)
            flow.next = seq + 1

    # Reading.

    def serve(self, connection: Frames) -> None:
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
            with self._write_lock:
                connection.finish()
        except Broken as error:
            LOGGER.info("%s of %s", error, self._partner.role)
        except DualnetError as error:
            self._fail(error)
        finally:
            self._lose(connection)

    def _is_idle(self) -> bool:
        now_s = time.monotonic()
        silent = now_s - self._heard_s > self._settings.dead_after_s
        return silent or now_s > self._leave_at_s

    def _hear(self) -> None:
        self._heard_s = time.monotonic()
        self._partner.hear()

    def _meet(self, connection: Frames, hello: Any) -> dict[str, str] | None:
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
            self._fail(
                ManifestMismatch(
                    f"{partner.role} runs {identity} and this half {ours}; use the same "
                    f"configuration for both halves"
                )
            )
        with self.cond:
            if life != partner.life:
                taken = epoch == partner.told_epoch and self._flow is not None
                if epoch < partner.told_epoch or taken:
                    return {
                        "why": f"{partner.role} epoch {partner.told_epoch} has taken over from "
                        f"epoch {epoch}"
                    }
                partner.meet(epoch, life, process)
        return None

    def _begin(self, connection: Frames) -> _Flow:
        """From here on this is the connection."""
        flow = _Flow(connection)
        with self.cond:
            before, self._flow = self._flow, flow
            self._partner.is_connected = True
            self.cond.notify_all()
        if before is not None:
            before.connection.close()
        self._wake.set()
        return flow

    def _lose(self, connection: Frames) -> None:
        connection.close()
        with self.cond:
            if self._flow is not None and self._flow.connection is connection:
                self._flow = None
                self._partner.is_connected = False
            self.cond.notify_all()

    def _fail(self, error: DualnetError) -> None:
        with self.cond:
            self.fatal = self.fatal or error
            self.cond.notify_all()

    def _take_in(self, flow: _Flow, item: Any) -> None:
        if not isinstance(item, dict):
            seq, message, digest = item
            now_s = time.monotonic()
            self.put(seq, Arrival(message, digest, flow.connection.began_s, now_s))
            self._rest(flow)
            return
        try:
            self._obey(flow, item)
        except (KeyError, TypeError, ValueError) as error:
            raise Broken(f"not an object of ours: {error}") from error

    def _rest(self, flow: _Flow) -> None:
        """Read no further while there is much unread, unless we are sending ourselves."""
        with self.cond:
            while self._inbox_bytes > _WINDOW_BYTES and not self._is_sending and self._flow is flow:
                self.cond.wait(0.1)
                self._heard_s = time.monotonic()

    def _obey(self, flow: _Flow, item: dict[str, Any]) -> None:
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
                self._wake.set()
        elif kind == "claim":
            verdict = self._judge(int(item["seq"]), str(item["digest"]))
            self._replies.append({"type": "verdict", "seq": item["seq"], "is": verdict})
            self._wake.set()
        elif kind == "verdict":
            self._accept(int(item["seq"]), str(item["is"]))
        elif kind == "lost":
            self._fail(
                DamagedMessage(
                    f"message {item['seq']} of {self._partner.role} was deleted, this half would "
                    f"need it to continue; start from a later checkpoint, or with a new run "
                    f"directory"
                )
            )
        elif kind == "refused":
            self._fail(Superseded(f"{item['why']}; nothing to do, the run goes on without it"))

    # Proofs.

    def _judge(self, seq: int, digest: str) -> str:
        with self.cond:
            known = self._digests.get(seq)
        if known is None:
            return "unknown"
        return "same" if known == digest else "different"

    def _compare(self, seq: int, digest: str) -> None:
        if self._judge(seq, digest) == "different":
            self._replies.append({"type": "verdict", "seq": seq, "is": "different"})
            self._wake.set()

    def _accept(self, seq: int, verdict: str) -> None:
        if verdict == "different":
            self._fail(
                DeterminismViolated(
                    f"message {seq} differs from the one that {self._partner.role} got before the "
                    f"restart; use the same machine type, threads and libraries, or a new run "
                    f"directory"
                )
            )
        with self.cond:
            if verdict == "same":
                self.verified.add(seq)
            self._proved = max(self._proved, seq)
            self.cond.notify_all()

    def _forget(self) -> None:
        """Drop digests that the partner will not have to prove any more."""
        if self._settings.retain:
            through = self._partner.standing.passed_sent
        else:
            through = self.standing.arrived - _FEW
        # In order of their numbers, so the old ones come first.
        while self._digests and next(iter(self._digests)) <= through:
            del self._digests[next(iter(self._digests))]
