"""The exchange over TCP (docs/carriers.md): messages go from memory to memory.

The run's directory stays: the manifest and the secret, the lease of each role, the heartbeat that
`dualnet status` shows and, where there are checkpoints, the messages that a restart needs are files
as with the carrier of files, and the same code writes them. A directory that both halves see is a
convenience here: it tells net2 where net1 listens, and lets a half be replayed after its partner
has left.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from dataclasses import replace
from typing import Any, Callable, TypeVar

import numpy as np

from dualnet.errors import ManifestMismatch, PartnerNeverCame, UsageError
from dualnet.exchange.channel import PARTNER, Channel, Counters, Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.heartbeat import Heartbeat, Pulse
from dualnet.exchange.hello import seal_hello
from dualnet.exchange.host import ProcessId
from dualnet.exchange.layout import MessageLayout
from dualnet.exchange.lease import Lease, NodeLock
from dualnet.exchange.manifest import join_run
from dualnet.exchange.mounts import care_for
from dualnet.exchange.outbox import Outbox, check_size
from dualnet.exchange.partner import Watch
from dualnet.exchange.paths import ExchangePaths
from dualnet.exchange.publish import Publisher
from dualnet.exchange.retention import (
    Kept,
    Passage,
    find_messages,
    message_bytes,
    remove_temporaries,
)
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.stage import StageRecord
from dualnet.exchange.storage import Storage
from dualnet.exchange.tcp_address import (
    Address,
    find_addresses,
    listen,
    parse_address,
    publish_address,
)
from dualnet.exchange.tcp_frames import Connection, Keys, layout_digest
from dualnet.exchange.tcp_link import Dialer, Link, Listener
from dualnet.exchange.tcp_partner import RemoteHalf
from dualnet.exchange.tcp_shelf import Shelf
from dualnet.exchange.tcp_store import Store
from dualnet.exchange.tcp_wire import Arrival, Wire
from dualnet.fs import Fs

__all__ = ["TcpChannel"]

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")

# A wait is woken by what it waits for; so often it looks after everything else.
_TICK_S = 0.05
# Time between two looks for the partner's files, and between two stage records for `status`.
_LOOK_S = 0.5
_SHOW_S = 1.0
_HANDSHAKE = "handshake"
#: Sent, not yet arrived and only in memory: more makes the sender wait.
_UNDER_WAY_BYTES = 256 << 20


class TcpChannel(Channel):
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
        if role not in PARTNER:
            raise UsageError(f"role {role!r}: expected one of {', '.join(PARTNER)}")
        if settings.address:
            parse_address(settings.address)
        self.role, self.partner = role, PARTNER[role]
        self.counters = Counters()
        self._settings = settings
        self._fs = fs = fs or Fs()
        self._paths = paths = ExchangePaths.of_run(run_dir)
        self._process = process or ProcessId.current()
        care = care_for(run_dir, settings)
        self._manifest = manifest = join_run(
            fs, paths, role, {**identity, "digest": settings.digest}
        )
        run = manifest.run_id.hex()
        self._lock = NodeLock(fs, settings.lock_dir, run, role)
        try:
            self._lease = Lease.take(
                fs, paths, manifest, role, self._process, settings.dead_after_s, LOGGER.info
            )
        except BaseException:
            self._lock.release()
            raise
        epoch = self._lease.epoch
        self._heartbeat = Heartbeat(
            fs, paths.heartbeat(role, epoch), manifest.key, Pulse(run, role, epoch),
            settings.beat_s, care.network,
        )  # fmt: skip
        self._storage = Storage(
            fs, paths.root, settings.storage_timeout_s, self.counters, self._heartbeat.set_state
        )
        self._hasher = Hasher(settings.hash_threads, settings.digest)
        self._kept = Kept(fs, paths, settings.disk_budget_bytes)
        self._outbox = Outbox(
            fs, paths, manifest, Publisher(fs, paths, role, epoch), self._storage, self._hasher,
            StageRecord(run, role, epoch), self._kept, care.network,
        )  # fmt: skip
        own, theirs = (
            Shelf(fs, paths, manifest, self._hasher, care, whose, settings.max_message_bytes)
            for whose in (role, self.partner)
        )
        self._theirs = theirs
        self._store = Store(own.read)
        self._remote = RemoteHalf(self.partner, theirs.last_words)
        introduction = {
            "epoch": epoch,
            "life": fs.random(8).hex(),
            "process": self._process.fields(),
            "identity": manifest.identity,
        }
        self._wire = Wire(introduction, self._remote, self._store, settings, self._hasher)
        self._passages: deque[Passage] = deque()
        self._recorded_through = 0
        self._looked_s = self._shown_s = -float("inf")
        self._link: Link | None = None
        self._closed = False
        try:
            self._storage.attempt(
                "list", paths.root, lambda: remove_temporaries(fs, paths, role, epoch)
            )
            self._heartbeat.set_state("running", now=True)
            self._heartbeat.start()
            self._wire.start()
            self._link = self._make_link(addresses)
            self._link.start()
        except BaseException as error:
            self.close(f"failed: {error}")
            raise

    def _make_link(self, addresses: Callable[[], list[Address]] | None) -> Link:
        """What makes the connections."""
        fs, paths, manifest = self._fs, self._paths, self._manifest
        limit, verify = self._settings.max_message_bytes, self._settings.verify

        def serve(sock: socket.socket, keys: Keys) -> None:
            self._wire.serve(Connection(sock, keys, self._hasher, limit, verify))

        if self.role == "net1":
            sock = listen(self._settings.address)
            port = sock.getsockname()[1]
            self._storage.attempt(
                "write",
                paths.address(self.role, self.epoch),
                lambda: publish_address(fs, paths, manifest, self.role, self.epoch, port),
            )
            return Listener(self.role, manifest.key, serve, sock)
        if self._settings.address and addresses is None:
            fixed = [parse_address(self._settings.address)]
            addresses = lambda: fixed  # noqa: E731
        return Dialer(
            self.role,
            manifest.key,
            serve,
            addresses or (lambda: find_addresses(fs, paths, manifest, self.partner)),
        )

    @property
    def seq_sent(self) -> int:
        """Messages sent, counted over all restarts."""
        return self._wire.standing.sent

    @property
    def seq_received(self) -> int:
        """Messages received, counted over all restarts."""
        return self._wire.standing.received

    @property
    def epoch(self) -> int:
        """How many times this role has been started in this run."""
        return self._lease.epoch

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """See `Channel.handshake`."""
        self._check_open()
        seal_hello(self._manifest, self.role, self.epoch, hello)  # refuses what is too long
        self._wire.say(hello)
        self.awaited = "the handshake"
        try:
            return self._wait(lambda: self._remote.hello, _HANDSHAKE)
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
        arrival = self._wait(lambda: self._find(seq), what, count=False)
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
        self._wire.take(seq)
        self._heartbeat.note(self.seq_sent, seq)
        return message

    def checkpoint_passed(self, iteration: int) -> None:
        """See `Channel.checkpoint_passed`."""
        self._begin()
        self._passages.append(Passage(iteration, self.seq_sent, self.seq_received))
        while len(self._passages) > max(self._settings.retain, 1):
            self._passages.popleft()
        changes: dict[str, Any] = {"checkpoint": iteration, "received": self.seq_received}
        if len(self._passages) >= self._settings.retain:
            oldest = self._passages[0]
            changes.update(passed_sent=oldest.sent, passed_received=oldest.received)
            with self._wire.cond:
                self._wire.standing.passed_sent = oldest.sent
                self._wire.standing.passed_received = oldest.received
        self._outbox.update(**changes)
        self._wire.tell()
        self._delete()

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Channel.reserve`."""
        if not self._settings.retain:
            return
        kept = iteration_bytes * iterations * self._settings.retain
        self._storage.attempt("look at", self._paths.root, lambda: self._kept.check_disk(kept))
        self._kept.check_room(kept)

    def progress(self) -> None:
        """See `Channel.progress`."""
        self._lease.check()
        self._raise_fatal()
        with self._wire.cond:
            self._wire.standing.progress += 1
        self._heartbeat.note(self.seq_sent, self.seq_received)
        self._delete()

    def report(self, state: str) -> None:
        """See `Channel.report`."""
        if not self._closed:  # how it ended is the last word
            self._heartbeat.set_state(state, now=True)

    def close(self, state: str = "done") -> None:
        """See `Channel.close`."""
        if self._closed:
            return
        try:
            if state == "done":
                self._drain()
        except BaseException as error:
            state = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._closed = True
            if self._link is not None:
                self._link.close()
            self._wire.close(state)
            if self._link is not None:
                # A thread that is left within a library would meet the interpreter's end there.
                self._link.join(self.join_s)
            self._heartbeat.close(state)
            self._hasher.close()
            self._lock.release()

    # Waiting.

    def _wait(self, look: Callable[[], T | None], what: str, count: bool = True) -> T:
        """Wait until there is something, or the partner is given up."""
        started_s = self._fs.monotonic()
        where = self._settings.address or self._paths.root
        watch = Watch(self._fs, self._remote, self._process, self._settings, where, what)
        cond = self._wire.cond
        try:
            while True:
                with cond:
                    result = look()
                    if result is None and self._wire.fatal is None:
                        cond.wait(_TICK_S)
                        result = look()
                if result is not None:
                    return result
                self._look_after()
                if what != _HANDSHAKE:  # before it, what is there may be what a dead one left
                    self._remote.look_for_last_words()
                error = watch.look()
                if error is not None:
                    result = look()
                    if result is not None:
                        return result
                    trouble = self._link.trouble if self._link is not None else ""
                    if isinstance(error, PartnerNeverCame) and trouble:
                        raise PartnerNeverCame(f"{error} ({trouble})")
                    raise error
        finally:
            if count:
                self.counters.wait_s += self._fs.monotonic() - started_s

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
            self._wait(lambda: None if self._wire.is_claimed(seq) else True, f"proof of {seq}")
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

        self._wait(look, "the end")
        self._delete()

    # What is done in passing.

    def _begin(self) -> None:
        self._check_open()
        self._raise_fatal()
        if self._wire.base < 0:
            self.resume(0, 0)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"channel of {self.role}: closed already")

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
            nbytes = message_bytes(layout.nbytes, len(layout.arrays))
            if not self._kept.fits(nbytes):
                self._delete()
                self._kept.check_room(nbytes)
        elif self._store.nbytes > _UNDER_WAY_BYTES:
            self._wait(
                lambda: True if self._store.nbytes <= _UNDER_WAY_BYTES else None,
                "room for the next message",
            )

    def _delete(self) -> None:
        """Delete messages that nobody can need any more."""
        if self._settings.retain:
            mine = self._outbox.record.passed_sent
            self._kept.delete_through(min(mine, self._remote.standing.passed_received))
