"""How two halves prove to each other that they know the run's secret.

    net2 -> net1   greeting: "DNTCP", version, role, 32 random bytes
    net1 -> net2   greeting of its own, HMAC(secret, "tcp net1", both greetings)
    net2 -> net1   HMAC(secret, "tcp net2", both greetings)

Neither answer can be made without the secret, replayed (the random bytes) or reflected (the role
stands in the key's use). The keys of the frames, one for each direction, are HMACs of the same
greetings. What is sent afterwards cannot be changed by a stranger but can be read.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
import time
from typing import Callable, TypeVar

from dualnet.exchange.channel import PARTNER, ROLES
from dualnet.exchange.disk.records import MAC_BYTES, mac
from dualnet.exchange.tcp.connection import Broken
from dualnet.exchange.tcp.frames import Keys

__all__ = ["AUTH_DEADLINE_S", "Answer", "WrongSecret", "ask"]

#: A connection that has not proved itself in this time is closed.
AUTH_DEADLINE_S = 5.0

T = TypeVar("T")

_GREETING = struct.Struct("<5sBB32s")
_MAGIC, _VERSION = b"DNTCP", 1


class WrongSecret(Broken):
    """The other side answers, but does not know this run's secret."""


class Answer:
    """Authenticates a connection that was accepted, a piece at a time, without reading itself.

    Args:
        secret: the run's.
        role: ours.

    Attributes:
        keys: of the frames, once the caller has proved itself.
    """

    def __init__(self, secret: bytes, role: str) -> None:
        self.keys: Keys | None = None
        self._secret, self._role = secret, role
        self._transcript = self._heard = b""

    @property
    def wanted(self) -> int:
        """The most bytes to read next; what comes after the proof is not ours."""
        size = MAC_BYTES if self._transcript else _GREETING.size
        return size - len(self._heard)

    def take(self, data: bytes) -> bytes:
        """Take what the caller says, at most `wanted` bytes.

        Returns:
            What to answer, maybe nothing.

        Raises:
            Broken: it is no half of this run.
        """
        self._heard += data
        if not self._transcript and not _MAGIC.startswith(self._heard[: len(_MAGIC)]):
            raise Broken("no half of a run")
        if self.wanted:
            return b""
        heard, self._heard = self._heard, b""
        if not self._transcript:
            _check_greeting(heard, PARTNER[self._role])
            ours = _greeting(self._role)
            self._transcript = heard + ours
            return ours + mac(self._secret, f"tcp {self._role}", self._transcript)
        if not hmac.compare_digest(
            heard, mac(self._secret, f"tcp {PARTNER[self._role]}", self._transcript)
        ):
            raise WrongSecret("a caller does not know this run's secret")
        self.keys = _keys(self._secret, self._role, self._transcript)
        return b""


def ask(sock: socket.socket, secret: bytes, role: str) -> Keys:
    """Authenticate a connection that we made.

    Raises:
        Broken: it is no half of this run, or too slow.
    """
    deadline_s = time.monotonic() + AUTH_DEADLINE_S
    ours = _greeting(role)
    _write(sock, ours, deadline_s)
    reply = _read(sock, _GREETING.size + MAC_BYTES, deadline_s)
    theirs, proof = reply[: _GREETING.size], reply[_GREETING.size :]
    _check_greeting(theirs, PARTNER[role])
    transcript = ours + theirs
    if not hmac.compare_digest(proof, mac(secret, f"tcp {PARTNER[role]}", transcript)):
        raise WrongSecret("the half that answers has another secret")
    _write(sock, mac(secret, f"tcp {role}", transcript), deadline_s)
    return _keys(secret, role, transcript)


def _greeting(role: str) -> bytes:
    return _GREETING.pack(_MAGIC, _VERSION, ROLES.index(role), os.urandom(32))


def _check_greeting(greeting: bytes, role: str) -> None:
    magic, version, number, _ = _GREETING.unpack(greeting)
    if magic != _MAGIC:
        raise Broken("no half of a run")
    if version != _VERSION:
        raise Broken(f"speaks version {version} of the protocol, this program {_VERSION}")
    if number != ROLES.index(role):
        raise Broken(f"not {role}")


def _keys(secret: bytes, role: str, transcript: bytes) -> Keys:
    return Keys(
        sending=mac(secret, f"tcp frames of {role}", transcript),
        receiving=mac(secret, f"tcp frames of {PARTNER[role]}", transcript),
    )


def _read(sock: socket.socket, count: int, deadline_s: float) -> bytes:
    data = b""
    while len(data) < count:
        part = _timed(sock, deadline_s, lambda: sock.recv(count - len(data)))  # noqa: B023
        if not part:
            raise Broken("closed by the other side")
        data += part
    return data


def _write(sock: socket.socket, data: bytes, deadline_s: float) -> None:
    _timed(sock, deadline_s, lambda: sock.sendall(data))


def _timed(sock: socket.socket, deadline_s: float, call: Callable[[], T]) -> T:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise Broken(f"did not prove itself within {AUTH_DEADLINE_S:g} s")
    sock.settimeout(left_s)
    try:
        return call()
    except socket.timeout:
        raise Broken(f"did not prove itself within {AUTH_DEADLINE_S:g} s") from None
    except OSError as error:
        raise Broken(f"{error.strerror or error}") from error
