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
from dualnet.exchange.records import MAC_BYTES, mac
from dualnet.exchange.tcp.connection import Broken
from dualnet.exchange.tcp.frames import Keys

__all__ = ["AUTH_DEADLINE_S", "WrongSecret", "answer", "ask"]

#: A connection that has not proved itself in this time is closed.
AUTH_DEADLINE_S = 5.0

T = TypeVar("T")

_GREETING = struct.Struct("<5sBB32s")
_MAGIC, _VERSION = b"DNTCP", 1


class WrongSecret(Broken):
    """The other side answers, but does not know this run's secret."""


def answer(sock: socket.socket, secret: bytes, role: str) -> Keys:
    """Authenticate a connection that was accepted.

    Raises:
        Broken: it is no half of this run, or too slow.
    """
    deadline_s = time.monotonic() + AUTH_DEADLINE_S
    theirs = _read(sock, _GREETING.size, deadline_s)
    _check_greeting(theirs, PARTNER[role])
    ours = _greeting(role)
    transcript = theirs + ours
    _write(sock, ours + mac(secret, f"tcp {role}", transcript), deadline_s)
    proof = _read(sock, MAC_BYTES, deadline_s)
    if not hmac.compare_digest(proof, mac(secret, f"tcp {PARTNER[role]}", transcript)):
        raise WrongSecret("a caller does not know this run's secret")
    return _keys(secret, role, transcript)


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
