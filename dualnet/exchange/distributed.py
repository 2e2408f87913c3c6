"""The exchange over torch.distributed (docs/carriers.md): the carrier tcp on gloo's connections.

Everything but the connection is `TcpChannel`'s: numbers, proofs, restart, the four states of a
partner. The halves are the ranks 0 (net1) and 1 (net2) of a process group of two that is made anew
for each connection, so that a half can be started again. They find each other through a TCPStore:

- under torchrun, its own, at MASTER_ADDR and MASTER_PORT;
- where only these two variables are set, one that net1 keeps there;
- with `exchange.address`, one that net1 keeps there;
- else one on any free port, which net1 writes into the exchange directory.

Gloo proves nobody's identity and does not sign what it sends: use it on a network that you trust.
The digest of each message is compared all the same.
"""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from typing import Any, Callable

import numpy as np
import torch
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore

from dualnet.errors import ConfigError, StorageFailed, UsageError
from dualnet.exchange.channel import ROLES, Message
from dualnet.exchange.digest import Hasher
from dualnet.exchange.layout import MessageLayout
from dualnet.exchange.tcp import TcpChannel
from dualnet.exchange.tcp_address import (
    Address,
    find_addresses,
    parse_address,
    publish_address,
)
from dualnet.exchange.tcp_frames import (
    CONTROL_LIMIT,
    Broken,
    Left,
    announced_layout,
    layout_digest,
)
from dualnet.exchange.tcp_link import Link

__all__ = ["DistributedChannel"]

# The first tensor of each object: its length, and its beginning.
_FIRST_BYTES = 1024
_LENGTH_BYTES = 8
# How long a half waits in a new process group for the other one. net1 less long: if net2 has left
# a group that net1 comes to, it finds net2 still waiting in the next.
_MEET_S = {"net1": 1.5, "net2": 5.0}
_PAUSE_S = 0.05
_STORE_S = 4.0
# A half that leaves waits so long for its last words to be taken.
_LEAVE_S = 3.0


class GlooConnection:
    """Objects and messages over a process group of two; see `tcp_wire.Frames`.

    Args:
        group: of two ranks.
        rank: ours.
        hasher: makes digests.
        limit_bytes: the largest message to accept.
        verify: compare the digests of messages that are read.
        timeout_s: when nothing moves for so long, the connection is given up.
    """

    def __init__(
        self,
        group: Any,
        rank: int,
        hasher: Hasher,
        limit_bytes: int,
        verify: bool,
        timeout_s: float,
    ) -> None:
        self._group: Any = group
        self._timeout = timedelta(seconds=max(1.0, timeout_s))
        self._other = 1 - rank
        self._hasher = hasher
        self._limit_bytes = limit_bytes
        self._verify = verify
        self.is_idle: Callable[[], bool] = lambda: False
        self.on_heard: Callable[[], None] = lambda: None
        self.began_s = 0.0
        # Gloo ends a send when the other side takes it, and both begin with one: an object is on
        # its way until the next thing is sent.
        self._under_way: tuple[Any, torch.Tensor] | None = None

    def write_control(self, fields: dict[str, Any]) -> None:
        """See `tcp_frames.Connection.write_control`."""
        body = json.dumps(fields, separators=(",", ":")).encode("ascii")
        if len(body) > CONTROL_LIMIT:
            raise UsageError(f"{fields.get('type')}: {len(body)} bytes, at most {CONTROL_LIMIT}")
        whole = bytearray(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
        rest = whole[_FIRST_BYTES:]
        first = whole[:_FIRST_BYTES].ljust(_FIRST_BYTES)
        for part in (first, rest):
            if part:
                self._send(torch.frombuffer(part, dtype=torch.uint8), is_awaited=False)

    def write_message(self, seq: int, message: Message, layout: MessageLayout) -> str:
        """See `tcp_frames.Connection.write_message`."""
        digest = layout_digest(message, layout, self._hasher)
        self.write_control(
            {
                "type": "message",
                "seq": seq,
                "stage": message.stage,
                "iteration": message.iteration,
                "arrays": [[a.name, a.dtype, list(a.shape)] for a in layout.arrays],
                "digest": digest,
            }
        )
        for array in layout.arrays:
            if array.nbytes:
                self._send(_tensor_of(message.arrays[array.name]))
        return digest

    def read(self) -> dict[str, Any] | tuple[int, Message, str]:
        """See `tcp_frames.Connection.read`."""
        first = torch.empty(_FIRST_BYTES, dtype=torch.uint8)
        self._receive(first)
        self.began_s = time.monotonic()
        head = first.numpy().tobytes()
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if length > CONTROL_LIMIT:
            raise Broken(f"an object of {length} bytes")
        body = head[_LENGTH_BYTES : _LENGTH_BYTES + length]
        if len(body) < length:
            rest = torch.empty(length - len(body), dtype=torch.uint8)
            self._receive(rest)
            body += rest.numpy().tobytes()
        try:
            fields = json.loads(body.decode("ascii"))
            if fields["type"] == "bye":
                raise Left("closed by the other side")
            if fields["type"] != "message":
                return dict(fields)
            return self._read_message(fields)
        except (KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
            raise Broken(f"not an object of ours: {error}") from error

    def _read_message(self, fields: dict[str, Any]) -> tuple[int, Message, str]:
        layout = announced_layout(fields, self._limit_bytes)
        received = {array.name: np.empty(array.shape, array.dtype) for array in layout.arrays}
        for array in layout.arrays:
            if array.nbytes:
                self._receive(_tensor_of(received[array.name]))
        message = Message(layout.stage, int(fields["iteration"]), received)
        digest = str(fields["digest"])
        if self._verify and layout_digest(message, layout, self._hasher) != digest:
            raise Broken("a message has another digest than it states")
        return int(fields["seq"]), message, digest

    def _send(self, tensor: torch.Tensor, is_awaited: bool = True) -> None:
        group = self._open_group()
        try:
            self._await_sent()
            work = group.send([tensor], self._other, 0)
            self._under_way = (work, tensor)
            if is_awaited:
                self._await_sent()
        except RuntimeError as error:
            raise _broken(error) from error

    def _await_sent(self, timeout: timedelta | None = None) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way[0].wait(timeout or self._timeout)

    def _receive(self, tensor: torch.Tensor) -> None:
        group = self._open_group()
        try:
            group.recv([tensor], self._other, 0).wait(self._timeout)
        except RuntimeError as error:
            raise _broken(error) from error
        self.on_heard()

    def _open_group(self) -> Any:
        if self._group is None:
            raise Broken("closed")
        return self._group

    def finish(self) -> bool:
        """See `tcp_frames.Connection.finish`."""
        try:
            self.write_control({"type": "bye"})
            self._await_sent(timedelta(seconds=_LEAVE_S))
        except (Broken, RuntimeError):
            pass  # the other side has gone before
        return True

    def close(self) -> None:
        """No more is sent or received here; the sockets go with the last reference to the group."""
        self._group = self._under_way = None


def _broken(error: RuntimeError) -> Broken:
    """Gloo's error without the place in its source and its advice."""
    text = str(error).partition("] ")[2] or str(error)
    return Broken(text.split(". ")[0])


def _tensor_of(array: np.ndarray) -> torch.Tensor:
    """The memory of a C-contiguous array as a tensor of bytes."""
    flat = array.reshape(-1).view(np.uint8)
    return torch.from_numpy(flat if flat.flags.writeable else flat.copy())


class GlooLink(Link):
    """Makes a process group of two for each connection.

    Args:
        role: ours.
        make: makes a connection of a group and uses it until it is broken.
        store: the store in which both meet; asked before each attempt, None if there is none yet.
    """

    def __init__(
        self, role: str, make: Callable[[Any, int], None], store: Callable[[], Any]
    ) -> None:
        super().__init__(role, b"", lambda sock, keys: None)
        self._rank = ROLES.index(role)
        self._make = make
        self._store = store

    def _run(self) -> None:
        answered = 0
        while not self._closed.is_set():
            try:
                store = self._store()
                # net2 draws a number, net1 answers the latest; each is a group of its own.
                call = 0 if store is None else int(store.add("calls", self._rank))
                if call > answered:
                    answered = call
                    self._connect(PrefixStore(f"call {call}", store))
            except (RuntimeError, OSError) as error:  # torch's DistError is a RuntimeError
                self._note(str(error).splitlines()[0])
            self._closed.wait(_PAUSE_S)

    def _connect(self, store: Any) -> None:
        group = ProcessGroupGloo(store, self._rank, 2, timedelta(seconds=_MEET_S[self._role]))
        self.trouble = ""
        self._make(group, self._rank)


class DistributedChannel(TcpChannel):
    """One half's end of an exchange over torch.distributed; arguments as of `TcpChannel`."""

    #: Longer than any attempt to connect: a thread that comes back from within PyTorch when the
    #: interpreter has ended aborts the process.
    join_s = 8.0

    def _make_link(self) -> Link:
        rank = os.environ.get("RANK")
        if rank is not None and rank != str(ROLES.index(self.role)):
            raise ConfigError(
                f"RANK={rank} for {self.role}: net1 is rank 0 and net2 rank 1; start them with "
                "scripts/run_by_rank.sh"
            )
        settings = self._settings

        def make(group: Any, rank: int) -> None:
            self._wire.serve(
                GlooConnection(
                    group,
                    rank,
                    self._hasher,
                    settings.max_message_bytes,
                    settings.verify,
                    settings.dead_after_s,
                )
            )

        return GlooLink(self.role, make, self._store_finder())

    def _store_finder(self) -> Callable[[], Any]:
        """A function that gives the store in which the halves meet, None if there is none yet."""
        fixed = self._fixed_address()
        is_kept_here = self.role == "net1" and not os.environ.get("TORCHELASTIC_USE_AGENT_STORE")
        if is_kept_here:
            mine = _keep_store(fixed)
            if fixed is None:
                fs, paths, manifest = self._fs, self._paths, self._manifest
                publish_address(fs, paths, manifest, self.role, self.epoch, mine.port)
            return lambda: mine
        found: dict[Address, Any] = {}

        def find() -> Any:
            candidates = [fixed] if fixed is not None else self._published()
            for address in candidates:
                if address not in found:
                    found[address] = TCPStore(
                        address.host, address.port, is_master=False,
                        timeout=timedelta(seconds=_STORE_S), wait_for_workers=False,
                    )  # fmt: skip
                try:
                    found[address].add("calls", 0)
                except RuntimeError:
                    # Its keeper has gone, and perhaps come again.
                    del found[address]
                    raise
                return found[address]
            return None

        return find

    def _published(self) -> list[Address]:
        return find_addresses(self._fs, self._paths, self._manifest, self.partner)[:1]

    def _fixed_address(self) -> Address | None:
        host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
        if self._settings.address:
            return parse_address(self._settings.address)
        return parse_address(f"{host}:{port}") if host and port else None


def _keep_store(address: Address | None) -> Any:
    host, port = (address.host, address.port) if address is not None else ("0.0.0.0", 0)
    try:
        return TCPStore(
            host, port, is_master=True, timeout=timedelta(seconds=_STORE_S), wait_for_workers=False
        )
    except RuntimeError as error:
        raise StorageFailed(
            f"net1 cannot keep a store at {host}:{port}: {str(error).splitlines()[0]}; set "
            "exchange.address to an address of net1's node and a port that is free"
        ) from error
