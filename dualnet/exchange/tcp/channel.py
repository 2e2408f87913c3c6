"""What a training loop sees of the exchange over TCP."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any, Callable

import numpy as np

from dualnet.errors import ManifestMismatch, UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.files.end import Member
from dualnet.exchange.files.layout import MessageLayout
from dualnet.exchange.files.neighbour import Watch
from dualnet.exchange.files.outbox import check_size
from dualnet.exchange.files.retention import Passage, find_messages, message_bytes
from dualnet.exchange.run.hello import seal_hello
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import highest_epoch
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp.address import (
    Address,
    find_addresses,
    listen,
    parse_address,
    publish_address,
)
from dualnet.exchange.tcp.arrivals import Arrival
from dualnet.exchange.tcp.dial import Dialer, Link, Listener
from dualnet.exchange.tcp.frames import Keys, SocketConnection
from dualnet.exchange.tcp.message import layout_digest
from dualnet.exchange.tcp.message_files import Shelf
from dualnet.exchange.tcp.neighbour import RemoteHalf
from dualnet.exchange.tcp.store import Store
from dualnet.exchange.tcp.waiting import Waiting
from dualnet.exchange.tcp.wire import Wire
from dualnet.fs import Fs

__all__ = ["TcpChannel"]

# Time between two looks for the partner's files, and between two stage records for `status`.
_LOOK_S = 0.5
_SHOW_S = 1.0
#: Sent, not yet arrived and only in memory: more makes the sender wait.
_UNDER_WAY_BYTES = 256 << 20


class TcpChannel(Member):
    """One half's end of an exchange over TCP; opening it joins the run and takes the role.

    Args:
        role: "net1", which listens, or "net2", which calls.
        run_dir: an existing folder.
        settings: waits and care.
        identity: JSON-able; what both halves must agree on.
        fs: all I/O on files, and the clock.
        process: who we are.
        addresses: where net2 calls; default: `exchange.address`, or what net1 left in the folder.

    Raises:
        UsageError: no such role or folder.
        ConfigError: `exchange.address` is none.
        ManifestMismatch: the directory holds another run.
        Superseded: the role is taken.
        StorageFailed: the directory cannot be used, or nobody can listen at the address.
    """

    #: How long `close` waits for the thread that makes connections.
    join_s = 3.0

    def __init__(
        self,
        role: str,
        run_dir: str,
        settings: ExchangeSettings,
        identity: dict[str, Any],
        fs: Fs | None = None,
        process: ProcessId | None = None,
        addresses: Callable[[], list[Address]] | None = None,
    ) -> None:
        if settings.address:
            parse_address(settings.address)
        super().__init__(role, run_dir, settings, identity, fs, process)
        fs, manifest = self._fs, self._manifest
        limit = settings.max_message_bytes
        own, theirs = (
            Shelf(fs, self._paths, manifest, self._hasher, self._care, whose, limit)
            for whose in (role, self.partner)
        )
        self._theirs = theirs
        self._store = Store(own.read)
        self._remote = RemoteHalf(self.partner, theirs.last_words)
        introduction = {
            "epoch": self.epoch,
            "life": fs.random(8).hex(),
            "process": self._process.fields(),
            "identity": manifest.identity,
        }
        self._wire = Wire(introduction, self._remote, self._store, settings, self._hasher)
        self._waiting = Waiting(
            fs, self._wire, self._remote, self.counters, self._trouble, self._look_after
        )
        self._recorded_through = 0
        self._looked_s = self._shown_s = -float("inf")
        self._addresses = addresses or self._find_addresses
        self._link: Link | None = None
        self._open()

    def _connect(self) -> None:
        self._wire.start()
        self._link = self._make_link()
        self._link.start()

    def _disconnect(self, state: str) -> None:
        if self._link is not None:
            self._link.close()
        self._wire.close(state)
        if self._link is not None:
            # A thread that is left within a library would meet the interpreter's end there.
            self._link.join(self.join_s)

    def _make_link(self) -> Link:
        """What makes the connections."""
        fs, paths, manifest = self._fs, self._paths, self._manifest
        limit, verify = self._settings.max_message_bytes, self._settings.verify

        def serve(sock: socket.socket, keys: Keys) -> None:
            self._wire.serve(SocketConnection(sock, keys, self._hasher, limit, verify))

        if self.role == "net1":
            sock = listen(self._settings.address)
            port = sock.getsockname()[1]
            self._storage.attempt(
                "write",
                paths.address(self.role, self.epoch),
                lambda: publish_address(fs, paths, manifest, self.role, self.epoch, port),
            )
            return Listener(self.role, manifest.key, serve, sock)
        return Dialer(self.role, manifest.key, serve, self._addresses, self._wrong_secret)

    def _wrong_secret(self, address: Address) -> None:
        """Whoever answers has another secret: wait for no partner, unless it shares this folder."""
        try:
            if highest_epoch(self._fs, self._paths, self.partner):
                return  # it has this secret, too, and somebody else answers
        except OSError:
            return
        self._wire.fail(
            ManifestMismatch(
                f"the half that answers at {address} has another secret than {self._paths.secret}; "
                f"copy {self.partner}'s exchange/secret to this node's run directory, or correct "
                "exchange.address"
            )
        )

    def _find_addresses(self) -> list[Address]:
        if self._settings.address:
            return [parse_address(self._settings.address)]
        return find_addresses(self._fs, self._paths, self._manifest, self.partner)

    @property
    def seq_sent(self) -> int:
        """Messages sent, counted over all restarts."""
        return self._wire.standing.sent

    @property
    def seq_received(self) -> int:
        """Messages received, counted over all restarts."""
        return self._wire.standing.received

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """See `Channel.handshake`."""
        self._check_open()
        seal_hello(self._manifest, self.role, self.epoch, hello)  # refuses what is too long
        self._wire.say(hello)
        self.awaited = "the handshake"
        try:
            return self._waiting.until(
                lambda: self._remote.hello, self._watch("handshake"), is_handshake=True
            )
        finally:
            self.awaited = ""

    def resume(self, seq_sent: int, seq_received: int) -> None:
        """See `Channel.resume`; a message that is no longer there shows when it is awaited."""
        self._check_open()
        if self._wire.base >= 0:
            raise UsageError("resume: too late, messages were sent or received already")
        self._outbox.find_recorded()
        recorded = self._storage.attempt(
            "list", self._paths.root, lambda: find_messages(self._fs, self._paths, self.role)
        )
        self._recorded_through = max(recorded, default=0)
        self._outbox.update(base=seq_sent, seq=seq_sent, received=seq_received)
        self._heartbeat.note(seq_sent, seq_received)
        self._wire.resume(seq_sent, seq_received)

    def send(self, message: Message) -> None:
        """See `Channel.send`."""
        self._begin()
        layout = MessageLayout.of(message)
        check_size(layout, self._settings.max_message_bytes)
        self._lease.check()
        self._make_room(layout)
        started_s = self._fs.monotonic()
        seq = self.seq_sent + 1
        arrays = {name: np.asarray(a, order="C") for name, a in message.arrays.items()}
        whole = replace(message, arrays=arrays)
        self._store.hold(seq, whole)
        # What an earlier process may have sent is compared with its file before it goes out.
        if seq <= self._recorded_through:
            self._put_on_disk(whole, layout)
        self._wire.push(seq)
        if seq > self._recorded_through:
            self._put_on_disk(whole, layout)
        self._store.settle(seq, bool(self._settings.retain))
        counters = self.counters
        counters.exchange_s += self._fs.monotonic() - started_s
        counters.bytes_sent += layout.nbytes
        counters.messages_sent += 1
        counters.resends = self._wire.resends
        self._heartbeat.note(seq, self.seq_received)
        self._await_verdict(seq)
        self._delete()

    def receive(self, stage: str, iteration: int) -> Message:
        """See `Channel.receive`."""
        self._begin()
        seq = self.seq_received + 1
        started_s = self._fs.monotonic()
        self.awaited = f"{stage} {iteration}"
        what = f"{stage} {iteration} (message {seq})"
        arrival = self._waiting.until(lambda: self._find(seq), self._watch(what), is_counted=False)
        self.awaited = ""
        message, counters = arrival.message, self.counters
        if (message.stage, message.iteration) != (stage, iteration):
            raise ManifestMismatch(
                f"the halves are out of step: message {seq} of {self.partner} is {message.stage} "
                f"{message.iteration}, expected {stage} {iteration}; run both halves with the same "
                f"version and configuration"
            )
        counters.wait_s += max(0.0, min(arrival.began_s, self._fs.monotonic()) - started_s)
        counters.exchange_s += max(0.0, arrival.ended_s - max(started_s, arrival.began_s))
        counters.bytes_received += message.nbytes
        counters.messages_received += 1
        counters.damaged_reads = self._wire.spoiled
        self._wire.take(seq)
        self._heartbeat.note(self.seq_sent, seq)
        return message

    def _tell_passed(self, oldest: Passage) -> None:
        with self._wire.cond:
            self._wire.standing.passed_sent = oldest.sent
            self._wire.standing.passed_received = oldest.received
        self._wire.tell()

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Channel.reserve`; without checkpoints nothing is kept on disk."""
        if self._settings.retain:
            super().reserve(iteration_bytes, iterations)

    def progress(self) -> None:
        """See `Channel.progress`."""
        self._lease.check()
        self._raise_fatal()
        with self._wire.cond:
            self._wire.standing.progress += 1
        self._heartbeat.note(self.seq_sent, self.seq_received)
        self._delete()

    # Waiting.

    def _watch(self, what: str) -> Watch:
        where = self._settings.address or self._paths.root
        return Watch(self._fs, self._remote, self._process, self._settings, where, what)

    def _trouble(self) -> str:
        return self._link.trouble if self._link is not None else ""

    def _look_after(self) -> None:
        self._raise_fatal()
        self._lease.check()
        self._delete()
        if self.on_wait is not None:
            self.on_wait()

    def _raise_fatal(self) -> None:
        if self._wire.fatal is not None:
            raise self._wire.fatal

    def _find(self, seq: int) -> Arrival | None:
        """Message `seq`: it has come, or its sender has left and its file is there."""
        found = self._wire.peek(seq)
        now_s = self._fs.monotonic()
        if found is not None or self._remote.is_connected or now_s - self._looked_s < _LOOK_S:
            return found
        self._looked_s = now_s
        message = self._theirs.read(seq)
        if message is None:
            return None
        digest = layout_digest(message, MessageLayout.of(message), self._hasher)
        self._wire.put(seq, Arrival(message, digest, now_s, self._fs.monotonic()))
        return self._wire.peek(seq)

    def _await_verdict(self, seq: int) -> None:
        """While replaying, go on only when the partner has said that it got the same."""
        if self._wire.is_claimed(seq):
            self.awaited = f"{self.partner} to compare message {seq}"
            self._waiting.until(
                lambda: None if self._wire.is_claimed(seq) else True,
                self._watch(f"proof of {seq}"),
            )
            self.awaited = ""
        self._raise_fatal()
        compared = self._outbox.replays_verified
        self.counters.replays_verified = max(compared, len(self._wire.verified))

    def _drain(self) -> None:
        """Stay until the partner has all that was sent."""
        if self.seq_sent <= max(self._wire.base, 0):
            return
        self.awaited = f"{self.partner} to read the rest"
        self._wire.tell()

        def look() -> bool | None:
            told, pulse = self._remote.standing, self._remote.pulse()
            is_done = pulse is not None and pulse.state == "done"
            return True if told.received >= self.seq_sent or is_done else None

        self._waiting.until(look, self._watch("the end"))
        self._delete()

    # What is done in passing.

    def _begin(self) -> None:
        self._check_open()
        self._raise_fatal()
        super()._begin()

    def _put_on_disk(self, message: Message, layout: MessageLayout) -> None:
        """Keep a message for a restart; without checkpoints only say how far we are."""
        if self._settings.retain:
            self._outbox.send(message, layout, self.seq_received)
            return
        now_s = self._fs.monotonic()
        if now_s - self._shown_s >= _SHOW_S:
            self._shown_s = now_s
            self._outbox.update(
                seq=self.seq_sent,
                stage=message.stage,
                iteration=message.iteration,
                received=self.seq_received,
            )

    def _make_room(self, layout: MessageLayout) -> None:
        """Wait, or refuse, where the next message would exceed what may be kept."""
        if self._settings.retain:
            before = self._kept.bytes_of(self.seq_sent + 1)
            nbytes = max(0, message_bytes(layout.nbytes, len(layout.arrays)) - before)
            if not self._kept.fits(nbytes):
                self._delete()
                self._kept.check_room(nbytes)
        elif self._store.nbytes > _UNDER_WAY_BYTES:
            self._waiting.until(
                lambda: True if self._store.nbytes <= _UNDER_WAY_BYTES else None,
                self._watch("room for the next message"),
            )

    def _delete(self) -> None:
        """Delete messages that nobody can need any more."""
        if self._settings.retain:
            mine = self._outbox.record.passed_sent
            self._outbox.delete_through(min(mine, self._remote.standing.passed_received))
