"""What a training loop sees of a link over TCP."""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import partial
from typing import Any, Callable

import numpy as np

from dualnet.errors import ManifestMismatch
from dualnet.exchange.channel import Message
from dualnet.exchange.files.end import End
from dualnet.exchange.files.hello import seal_hello
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.retention import CheckpointMark, find_messages, message_bytes
from dualnet.exchange.link import Link
from dualnet.exchange.run.lease import highest_epoch
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.run.watch import FailureDetector
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp.address import (
    Address,
    address_of,
    find_addresses,
    listen,
    publish_address,
)
from dualnet.exchange.tcp.arrivals import Arrival
from dualnet.exchange.tcp.dial import Connector, Dialer, Listener
from dualnet.exchange.tcp.frames import Keys, SocketConnection
from dualnet.exchange.tcp.message import layout_digest
from dualnet.exchange.tcp.message_files import MessageFiles
from dualnet.exchange.tcp.neighbour import TcpNeighbour
from dualnet.exchange.tcp.store import Store
from dualnet.exchange.tcp.waiting import Waiting
from dualnet.exchange.tcp.wire import Wire

__all__ = ["TcpChannel"]

# Time between two searches for the neighbour's files, and between two status records for `status`.
_POLL_S = 0.5
_SHOW_S = 1.0
#: Bytes sent, not yet arrived and only in memory, at which the sender waits.
_UNDER_WAY_BYTES = 256 << 20


class TcpChannel(End):
    """One end of a link over TCP: the lower end listens, the upper end calls.

    Args:
        membership: this process in its run.
        link: the link; this piece is at one of its ends.
        settings: timeouts, retention, digest and dtypes.
        addresses: where the upper end calls; default: `exchange.address`, or what the lower end has
            left in the link's folder.

    Raises:
        UsageError: this piece is at neither end.
        ConfigError: `exchange.address` has none for this link.
        StorageFailed: the link's folder cannot be used, or nobody can listen at the address.
    """

    #: How long `disconnect` waits for the thread that makes connections.
    join_s = 3.0

    def __init__(
        self,
        membership: Membership,
        link: Link,
        settings: ExchangeSettings,
        addresses: Callable[[], list[Address]] | None = None,
    ) -> None:
        self._address = address_of(link, settings.address)
        super().__init__(membership, link, settings)
        checked = replace(settings, verify=True)
        own, theirs = (
            MessageFiles(membership, link, self._hasher, checked, whose)
            for whose in (self.piece, self.neighbour)
        )
        self._theirs = theirs
        self._store = Store(own.read)
        self._remote = TcpNeighbour(self.neighbour, link.name, theirs.final_heartbeat)
        introduction = {
            "epoch": self.epoch,
            "life": self._fs.random(8).hex(),
            "process": membership.process.fields(),
            "identity": self._manifest.identity,
        }
        self._wire = Wire(
            introduction, self._remote, self._store, settings, self._hasher,
            lambda: membership.heartbeat.pulse,
        )  # fmt: skip
        self._waiting = Waiting(membership, self._wire, self._remote, self.counters, self._trouble)
        self._recorded_through = 0
        self._polled_s = self._shown_s = -float("inf")
        self._addresses = addresses or self._find_addresses
        self._connector: Connector | None = None
        self._open()

    def _connect(self) -> None:
        self._wire.start()
        self._connector = self._make_connector()
        self._connector.start()

    def _disconnect(self, state: str) -> None:
        if self._connector is not None:
            self._connector.close()
        self._wire.close(state)
        if self._connector is not None:
            # A thread still inside a C library at interpreter shutdown can abort the process.
            self._connector.join(self.join_s)

    def _make_connector(self) -> Connector:
        """What makes the connections."""
        link, piece, key = self.link, self.piece, self._manifest.key
        limit, verify = self._settings.max_message_bytes, self._settings.verify

        def serve(sock: socket.socket, keys: Keys) -> None:
            self._wire.serve(SocketConnection(sock, keys, self._hasher, limit, verify))

        if link.end(piece) == "upper":
            return Dialer(link, piece, key, serve, self._addresses, self._wrong_secret)
        sock = listen(piece, self._address)
        self._publish(sock.getsockname()[1])
        return Listener(link, piece, key, serve, sock)

    def _publish(self, port: int) -> None:
        """Leave a record of where this process listens."""
        self._storage.attempt(
            "write",
            self._paths.address(self.piece, self.epoch),
            partial(publish_address, self.membership, self.link, port),
        )

    def _wrong_secret(self, address: Address) -> None:
        """What answers has another secret: wait for no neighbour, unless it shares this folder."""
        try:
            if highest_epoch(self._fs, self.membership.paths, self.neighbour):
                return  # the neighbour has this secret, too, and something else answers
        except OSError:
            return
        self._wire.fail(
            ManifestMismatch(
                f"the process that answers at {address} has another secret than "
                f"{self.membership.paths.secret}; copy {self.neighbour}'s exchange/secret to this "
                "node's run directory, or correct exchange.address"
            )
        )

    def _find_addresses(self) -> list[Address]:
        if self._address is not None:
            return [self._address]
        return find_addresses(self.membership, self.link)

    @property
    def seq_sent(self) -> int:
        """Messages sent, counted over all restarts."""
        return self._wire.status.sent

    @property
    def seq_received(self) -> int:
        """Messages received, counted over all restarts."""
        return self._wire.status.received

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """See `Channel.handshake`."""
        self.membership.check_open()
        # Refuses what is too long.
        seal_hello(self._manifest, self.link, self.piece, self.epoch, hello)
        self._wire.set_hello(hello)
        with self._waiting_for("the handshake"):
            return self._waiting.until(
                lambda: self._remote.hello, self._watch("handshake"), is_handshake=True
            )

    def neighbour_left(self) -> str:
        """See `Channel.neighbour_left`."""
        if self._remote.epoch:
            return self._left(self._remote)
        last = self._theirs.final_heartbeat()
        return last.state if last is not None else ""

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Restart.reserve`; without checkpoints nothing is kept on disk."""
        if self._settings.retain:
            super().reserve(iteration_bytes, iterations)

    # See `End`.

    def _begin(self) -> None:
        self.membership.check_open()
        self._raise_fatal()
        super()._begin()

    def _check_resume(self, seq_received: int) -> None:
        """A message that is no longer there shows when it is awaited."""
        recorded = self._storage.attempt(
            "list", self._paths.root, lambda: find_messages(self._fs, self._paths, self.piece)
        )
        self._recorded_through = max(recorded, default=0)

    def _resume(self, seq_sent: int, seq_received: int) -> None:
        self._wire.resume(seq_sent, seq_received)

    def _send(self, message: Message, layout: MessageLayout) -> None:
        self._make_room(layout)
        started_s = self._fs.monotonic()
        seq = self.seq_sent + 1
        arrays = {name: np.asarray(a, order="C") for name, a in message.arrays.items()}
        contiguous = replace(message, arrays=arrays)
        self._store.hold(seq, contiguous)
        # What an earlier process may have sent is compared with its file before it goes out.
        if seq <= self._recorded_through:
            self._put_on_disk(contiguous, layout)
        self._wire.push(seq)
        if seq > self._recorded_through:
            self._put_on_disk(contiguous, layout)
        self._store.settle(seq, bool(self._settings.retain))
        self.counters.exchange_s += self._fs.monotonic() - started_s
        self.counters.resends = self._wire.resends
        self.membership.count(self.link, seq, self.seq_received)
        self._await_verdict(seq)
        self._delete()

    def _receive(self, kind: str, iteration: int) -> Message:
        seq = self.seq_received + 1
        started_s = self._fs.monotonic()
        what = f"{kind} {iteration} (message {seq})"
        arrival = self._waiting.until(lambda: self._find(seq), self._watch(what), is_counted=False)
        message, counters = arrival.message, self.counters
        if (message.kind, message.iteration) != (kind, iteration):
            raise ManifestMismatch(
                f"the pieces are out of step: message {seq} of {self.neighbour} is {message.kind} "
                f"{message.iteration}, expected {kind} {iteration}; run all pieces with the same "
                f"version and configuration"
            )
        counters.wait_s += max(0.0, min(arrival.began_s, self._fs.monotonic()) - started_s)
        counters.exchange_s += max(0.0, arrival.ended_s - max(started_s, arrival.began_s))
        counters.damaged_reads = self._wire.corrupt
        self._wire.take(seq)
        self.membership.count(self.link, self.seq_sent, seq)
        return message

    def _drain(self) -> None:
        self._wire.wake()

        def poll() -> bool | None:
            status, pulse = self._remote.status, self._remote.pulse()
            is_done = pulse is not None and pulse.state == "done"
            return True if status.received >= self.seq_sent or is_done else None

        self._waiting.until(poll, self._watch("the end"))

    def _acknowledge(self, oldest: CheckpointMark) -> None:
        with self._wire.cond:
            self._wire.status.checkpointed_sent = oldest.sent
            self._wire.status.checkpointed_received = oldest.received
        self._wire.wake()

    def housekeeping(self) -> None:
        """See `End.housekeeping`; resends are the sender thread's."""
        self._raise_fatal()
        self._delete()

    def _delete(self) -> None:
        if self._settings.retain:
            mine = self._outbox.record.checkpointed_sent
            self._outbox.delete_through(min(mine, self._remote.status.checkpointed_received))

    # Waiting.

    def _watch(self, what: str) -> FailureDetector:
        return self._detector(self._remote, what, self._settings.address)

    def _trouble(self) -> str:
        return self._connector.trouble if self._connector is not None else ""

    def _raise_fatal(self) -> None:
        if self._wire.fatal is not None:
            raise self._wire.fatal

    def _find(self, seq: int) -> Arrival | None:
        """Message `seq` from memory; without a connection, from the neighbour's files.

        None if neither has it.
        """
        found = self._wire.peek(seq)
        now_s = self._fs.monotonic()
        if found is not None or self._remote.is_connected or now_s - self._polled_s < _POLL_S:
            return found
        self._polled_s = now_s
        message = self._theirs.read(seq)
        if message is None:
            return None
        digest = layout_digest(message, MessageLayout.of(message), self._hasher)
        self._wire.put(seq, Arrival(message, digest, now_s, self._fs.monotonic()))
        return self._wire.peek(seq)

    def _await_verdict(self, seq: int) -> None:
        """During a replay, wait for the neighbour's verdict on this message before the next one."""
        if self._wire.is_claimed(seq):
            with self._waiting_for(f"{self.neighbour} to compare message {seq}"):
                self._waiting.until(
                    lambda: None if self._wire.is_claimed(seq) else True,
                    self._watch(f"proof of {seq}"),
                )
        self._raise_fatal()
        compared = self._outbox.replays_verified
        self.counters.replays_verified = max(compared, len(self._wire.verified))

    def _put_on_disk(self, message: Message, layout: MessageLayout) -> None:
        """Keep a message for a restart; without checkpoints only update the record for status."""
        if self._settings.retain:
            self._outbox.send(message, layout, self.seq_received)
            return
        now_s = self._fs.monotonic()
        if now_s - self._shown_s >= _SHOW_S:
            self._shown_s = now_s
            self._outbox.update(
                seq=self.seq_sent,
                kind=message.kind,
                iteration=message.iteration,
                received=self.seq_received,
            )

    def _make_room(self, layout: MessageLayout) -> None:
        """Wait, or refuse, where the next message would exceed what may be kept."""
        if self._settings.retain:
            before = self._retained.bytes_of(self.seq_sent + 1)
            nbytes = max(0, message_bytes(layout.nbytes, len(layout.arrays)) - before)
            if not self._retained.fits(nbytes):
                self._delete()
                self._retained.check_room(nbytes)
        elif self._store.nbytes > _UNDER_WAY_BYTES:
            with self._waiting_for(f"{self.neighbour} to make room"):
                self._waiting.until(
                    lambda: True if self._store.nbytes <= _UNDER_WAY_BYTES else None,
                    self._watch("room for the next message"),
                )
