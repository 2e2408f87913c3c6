"""How the ends of a link prove to each other that they know the run's secret.

    upper -> lower   greeting: "DNTCP", version, end, index of the link, 30 random bytes
    lower -> upper   greeting of its own, HMAC(secret, "tcp lower", both greetings)
    upper -> lower   HMAC(secret, "tcp upper", both greetings)

Neither proof can be made without the secret, replayed (the greetings hold random bytes), reflected
(its label names the end that proves itself) or used for another link (the greetings hold its
index). The keys of the frames, one for each direction, are HMACs of the same greetings. What is
sent afterwards cannot be changed by a stranger but can be read.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
import time
from typing import Callable, TypeVar

from dualnet.exchange.disk.records import MAC_BYTES, mac
from dualnet.exchange.link import ENDS, Link
from dualnet.exchange.tcp.connection import ConnectionLost
from dualnet.exchange.tcp.frames import Keys

__all__ = ["AUTH_DEADLINE_S", "ServerProof", "WrongSecret", "authenticate_client"]

#: A connection that has not proved itself in this time is closed.
AUTH_DEADLINE_S = 5.0

T = TypeVar("T")

_OTHER = dict(zip(ENDS, reversed(ENDS)))

_GREETING = struct.Struct("<5sBBH30s")
_MAGIC, _VERSION = b"DNTCP", 2


class WrongSecret(ConnectionLost):
    """The other side answers, but does not know this run's secret."""


class ServerProof:
    """Authenticates an accepted connection; reads nothing itself, all bytes come through `take`.

    Args:
        secret: the run's.
        link, end: which link, and our end of it.

    Attributes:
        keys: of the frames, once the caller has proved itself.
    """

    def __init__(self, secret: bytes, link: Link, end: str) -> None:
        self.keys: Keys | None = None
        self._secret, self._link, self._end = secret, link, end
        self._transcript = self._received = b""

    @property
    def wanted(self) -> int:
        """The most bytes to read next; what comes after the proof is not ours."""
        size = MAC_BYTES if self._transcript else _GREETING.size
        return size - len(self._received)

    def take(self, data: bytes) -> bytes:
        """Take bytes from the caller, at most `wanted`.

        Returns:
            What to answer, maybe nothing.

        Raises:
            ConnectionLost: it is no piece of this run.
        """
        self._received += data
        if not self._transcript and not _MAGIC.startswith(self._received[: len(_MAGIC)]):
            raise ConnectionLost("no piece of a run")
        if self.wanted:
            return b""
        received, self._received = self._received, b""
        if not self._transcript:
            _check_greeting(received, self._link, _OTHER[self._end])
            ours = _greeting(self._link, self._end)
            self._transcript = received + ours
            return ours + mac(self._secret, f"tcp {self._end}", self._transcript)
        if not hmac.compare_digest(
            received, mac(self._secret, f"tcp {_OTHER[self._end]}", self._transcript)
        ):
            raise WrongSecret("a caller does not know this run's secret")
        self.keys = _keys(self._secret, self._end, self._transcript)
        return b""


def authenticate_client(sock: socket.socket, secret: bytes, link: Link, end: str) -> Keys:
    """Authenticate a connection that we made.

    Raises:
        ConnectionLost: it is no piece of this run, or too slow.
    """
    deadline_s = time.monotonic() + AUTH_DEADLINE_S
    ours = _greeting(link, end)
    _write(sock, ours, deadline_s)
    reply = _read(sock, _GREETING.size + MAC_BYTES, deadline_s)
    theirs, proof = reply[: _GREETING.size], reply[_GREETING.size :]
    _check_greeting(theirs, link, _OTHER[end])
    transcript = ours + theirs
    if not hmac.compare_digest(proof, mac(secret, f"tcp {_OTHER[end]}", transcript)):
        raise WrongSecret("the process that answers has another secret")
    _write(sock, mac(secret, f"tcp {end}", transcript), deadline_s)
    return _keys(secret, end, transcript)


def _greeting(link: Link, end: str) -> bytes:
    return _GREETING.pack(_MAGIC, _VERSION, ENDS.index(end), link.index, os.urandom(30))


def _check_greeting(greeting: bytes, link: Link, end: str) -> None:
    magic, version, number, index, _ = _GREETING.unpack(greeting)
    if magic != _MAGIC:
        raise ConnectionLost("no piece of a run")
    if version != _VERSION:
        raise ConnectionLost(f"speaks version {version} of the protocol, this program {_VERSION}")
    if (number, index) != (ENDS.index(end), link.index):
        raise ConnectionLost(f"not the {end} end of link {link.name}")


def _keys(secret: bytes, end: str, transcript: bytes) -> Keys:
    return Keys(
        sending=mac(secret, f"tcp frames of {end}", transcript),
        receiving=mac(secret, f"tcp frames of {_OTHER[end]}", transcript),
    )


def _read(sock: socket.socket, count: int, deadline_s: float) -> bytes:
    data = b""
    while len(data) < count:
        part = _timed(sock, deadline_s, lambda: sock.recv(count - len(data)))  # noqa: B023
        if not part:
            raise ConnectionLost("closed by the other side")
        data += part
    return data


def _write(sock: socket.socket, data: bytes, deadline_s: float) -> None:
    _timed(sock, deadline_s, lambda: sock.sendall(data))


def _timed(sock: socket.socket, deadline_s: float, call: Callable[[], T]) -> T:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise ConnectionLost(f"did not prove itself within {AUTH_DEADLINE_S:g} s")
    sock.settimeout(left_s)
    try:
        return call()
    except socket.timeout:
        raise ConnectionLost(f"did not prove itself within {AUTH_DEADLINE_S:g} s") from None
    except OSError as error:
        raise ConnectionLost(f"{error.strerror or error}") from error
