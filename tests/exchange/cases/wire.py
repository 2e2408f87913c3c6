"""Cases 36 to 38: the carrier tcp, in real time, on a wire that breaks, lies and has strangers."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import numpy as np
import pytest

from dualnet.errors import DamagedMessage, NeighbourNeverCame
from dualnet.exchange.channel import Message
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp import TcpChannel
from dualnet.exchange.tcp.address import Address
from tests.exchange.carriers import QUICK
from tests.exchange.cases.bench import LINK, Bench, assert_same, batch, case
from tests.exchange.proxy import Proxy

#: Longest wait for what has to happen.
_PATIENCE_S = 20.0


class Line:
    """net1 and net2 of one run with a proxy between them."""

    def __init__(self, bench: Bench, **settings: Any) -> None:
        self._bench = bench
        self.net1 = self.open("net1", "here", [])
        self.port = int(self.net1._connector._sock.getsockname()[1])
        self.proxy = Proxy(lambda: self.port)
        self.net2 = self.open("net2", "here", [Address("127.0.0.1", self.proxy.port)], **settings)
        self._next = 0

    def open(self, piece: str, node: str, addresses: list[Address], **settings: Any) -> TcpChannel:
        """A piece; those of one node share a run directory."""
        run_dir = self._bench.folder / node
        run_dir.mkdir(exist_ok=True)
        locks = str(self._bench.folder / f"locks-{node}-{piece}")
        made = ExchangeSettings(**{**QUICK, "retain": 0, "lock_dir": locks, **settings})
        membership = Membership(piece, str(run_dir), made, {"config": "c"})
        return TcpChannel(membership, LINK, made, lambda: addresses)

    def pass_on(self, times: int = 1) -> None:
        """Messages up and down, every byte compared."""
        for _ in range(times):
            up, down = batch(self._next), batch(self._next + 1)
            self.net1.send(up)
            assert_same(up, self.net2.receive(up.kind, up.iteration))
            self.net2.send(down)
            assert_same(down, self.net1.receive(down.kind, down.iteration))
            self._next += 2

    def close(self) -> None:
        """Close both pieces, then the wire."""
        self.net2.membership.close("stopped")
        self.net1.membership.close("stopped")
        self.proxy.close()


@contextmanager
def _line(bench: Bench, **settings: Any) -> Iterator[Line]:
    line = Line(bench, **settings)
    try:
        line.pass_on()
        yield line
        line.pass_on(2)
    finally:
        line.close()


def _call(port: int, say: Callable[[socket.socket], None]) -> None:
    """Call net1 as a stranger, say something, and listen until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as sock:
        try:
            say(sock)
            while sock.recv(1 << 12):
                pass
        except OSError as error:
            assert not isinstance(error, socket.timeout), "net1 did not hang up"


@case(36, "TCP: another secret", "refused, by name; the pair is not disturbed")
def wrong_key(bench: Bench, chance: random.Random) -> None:
    with _line(bench) as line:
        address = Address("127.0.0.1", line.port)
        stranger = line.open("net2", "elsewhere", [address], partner_timeout_s=0.3)
        try:
            with pytest.raises(NeighbourNeverCame, match="has another secret"):
                stranger.handshake({})
        finally:
            stranger.membership.close("stopped")
        assert line.proxy.connections == 1


@case(36, "TCP: recorded bytes are played again", "refused; the pair is not disturbed")
def replay(bench: Bench, chance: random.Random) -> None:
    recorded: list[bytes] = []
    line = Line(bench)
    try:

        def change(way: str, passed: int, data: bytes) -> bytes:
            if way == "up":
                recorded.append(data)
            return data

        line.proxy.change = change
        line.pass_on(2)
        played = b"".join(recorded)
        _call(line.port, lambda sock: sock.sendall(played[: chance.randrange(1, len(played) + 1)]))
        line.pass_on(2)
        assert line.proxy.connections == 1
    finally:
        line.close()


@case(36, "TCP: net1's own greeting is reflected", "refused; the pair is not disturbed")
def reflection(bench: Bench, chance: random.Random) -> None:
    def mirror(sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE_S)
        data = b"?" * chance.randrange(1, 200)
        while data:
            sock.sendall(data)
            data = sock.recv(1 << 12)

    with _line(bench) as line:
        _call(line.port, mirror)
        assert line.proxy.connections == 1


@case(36, "TCP: silent and loud strangers", "refused; the pair is not disturbed")
def strangers(bench: Bench, chance: random.Random) -> None:
    with _line(bench) as line:
        silent = [socket.create_connection(("127.0.0.1", line.port)) for _ in range(10)]
        noise = bytes(chance.randrange(256) for _ in range(chance.randrange(200, 2000)))
        loud = threading.Thread(target=_call, args=(line.port, lambda sock: sock.sendall(noise)))
        loud.start()
        line.pass_on(3)
        for sock in silent:
            sock.close()
        loud.join()
        assert line.proxy.connections == 1


@case(37, "TCP: one bit flipped on the wire", "reconnected, sent again, nothing wrong used")
def flipped_bit(bench: Bench, chance: random.Random) -> None:
    line = Line(bench)
    spared, flips = chance.randrange(700, 20_000), 0
    way_of_flip = chance.choice(["up", "down"])

    def change(way: str, passed: int, data: bytes) -> bytes:
        nonlocal flips
        if way != way_of_flip or flips or passed + len(data) <= spared:
            return data
        flips += 1
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    try:
        line.proxy.change = change
        while not flips:
            line.pass_on()
        line.pass_on(2)
        assert line.proxy.connections == 2
    finally:
        line.close()


@case(37, "TCP: every copy of a message is damaged", "requested again, then given up by name: 73")
def spoiled(bench: Bench, chance: random.Random) -> None:
    line = Line(bench, resend_timeout_s=0.2)
    array = np.frombuffer(bytes(1 << 20), np.uint8)
    place = chance.randrange(1 << 18, 1 << 19)  # of each connection's bytes: within the array

    def change(way: str, passed: int, data: bytes) -> bytes:
        if way != "down" or not passed <= place < passed + len(data):
            return data
        changed = bytearray(data)
        changed[place - passed] ^= 1 << chance.randrange(8)
        return bytes(changed)

    try:
        line.proxy.change = change
        line.net1.send(Message("train", 0, {"x": array}))
        why = r"^message 1 of net1: damaged even when resent for \d+ s \(train 0, x: a frame"
        with pytest.raises(DamagedMessage, match=why) as caught:
            line.net2.receive("train", 0)
        assert caught.value.exit_code == 73
        assert line.proxy.connections >= 2
        assert line.net2.seq_received == 0
    finally:
        line.close()


@case(37, "TCP: reset within a frame", "reconnected, sent again from the frame's beginning")
def reset(bench: Bench, chance: random.Random) -> None:
    line = Line(bench)
    spared, cuts = chance.randrange(700, 40_000), 0
    way_of_cut = chance.choice(["up", "down"])

    def change(way: str, passed: int, data: bytes) -> bytes | None:
        nonlocal cuts
        if way != way_of_cut or cuts or passed + len(data) <= spared:
            return data
        cuts += 1
        return None

    try:
        line.proxy.change = change
        while not cuts:
            line.pass_on()
        line.pass_on(2)
        assert line.proxy.connections == 2
    finally:
        line.close()


@case(37, "TCP: a frame that says it is huge", "refused, nothing allocated for it")
def oversize(bench: Bench, chance: random.Random) -> None:
    """The length of a frame stands in its header, at bytes 8 to 15, under a MAC."""
    line = Line(bench)
    done = 0

    def change(way: str, passed: int, data: bytes) -> bytes:
        nonlocal done
        if way != "down" or done or passed < 700 or len(data) < 64:
            return data
        done += 1
        return data[:8] + b"\x7f" * 8 + data[16:]

    try:
        line.proxy.change = change
        while not done:
            line.pass_on()
        line.pass_on(2)
        assert line.proxy.connections == 2
    finally:
        line.close()


@case(38, "TCP: partition", "waits while the heartbeat allows it, then goes on")
def partition(bench: Bench, chance: random.Random) -> None:
    with _line(bench) as line:
        line.proxy.is_down = True
        line.proxy.cut()
        opening = threading.Timer(
            chance.uniform(0.05, 0.3), lambda: setattr(line.proxy, "is_down", False)
        )
        opening.start()
        line.pass_on(2)
        opening.join()
        assert line.proxy.connections >= 2


@case(38, "TCP: the wire swallows everything", "silence decides; reconnected")
def silence(bench: Bench, chance: random.Random) -> None:
    with _line(bench, dead_after_s=0.6) as line:
        first = line.proxy.connections
        line.proxy.change = lambda way, passed, data: (
            data if line.proxy.connections > first else b""
        )
        line.pass_on()
        assert line.proxy.connections > first
