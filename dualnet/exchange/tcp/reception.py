"""Where connections come in: those that prove to know the run's secret pass, strangers are closed.

Strangers cannot block the neighbour by filling a queue. At most `MOST_STRANGERS` callers may be
unauthenticated at a time, and one more replaces another: of the address with most of them, the one
that came first. So strangers from one address never drive out a neighbour at another one. Those at
the neighbour's own address do only if that many call within the time of its proof, two messages; it
then calls again. Strangers cost no thread, and a few bytes each.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Callable

from dualnet.exchange.link import Link
from dualnet.exchange.tcp import auth
from dualnet.exchange.tcp.auth import ServerProof
from dualnet.exchange.tcp.connection import ConnectionLost
from dualnet.exchange.tcp.frames import Keys

__all__ = ["Reception"]

#: Callers that have not proved themselves yet; one more takes the place of another.
MOST_STRANGERS = 128

#: Connections accepted before those that wait are read again.
_AT_ONCE = 32
#: What a process, or the machine, has no more of: a stranger's place gives one back.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Caller:
    """A connection that has yet to prove itself.

    Args:
        sock: it.
        host: where it comes from.
        proof: what it has proved so far.
        until_s: by when it has to have proved itself.
    """

    def __init__(self, sock: socket.socket, host: str, proof: ServerProof, until_s: float) -> None:
        self.sock, self.host, self.proof, self.until_s = sock, host, proof, until_s


class Reception:
    """Takes calls at a socket.

    Args:
        sock: listens; it stays the caller's to close.
        secret: the run's.
        link, end: which link, and our end of it.
        on_trouble: called with the reason why a caller was closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        secret: bytes,
        link: Link,
        end: str,
        on_trouble: Callable[[ConnectionLost], None] = lambda error: None,
    ) -> None:
        self._sock, self._secret, self._link, self._end = sock, secret, link, end
        self._on_trouble = on_trouble
        #: In the order in which they came, which is that of their deadlines, too.
        self._callers: dict[socket.socket, _Caller] = {}
        self._by_host: dict[str, dict[socket.socket, None]] = {}
        self._selector = selectors.DefaultSelector()
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ)

    def __len__(self) -> int:
        """Callers that have not proved themselves."""
        return len(self._callers)

    def close(self) -> None:
        """Send all away."""
        for caller in list(self._callers.values()):
            self._send_away(caller)
        self._selector.close()

    def poll(self, timeout_s: float) -> list[tuple[socket.socket, Keys]]:
        """Wait for something to happen, `timeout_s` at most.

        Returns:
            Connections that have proved themselves, with their keys.

        Raises:
            OSError: no calls can be taken.
        """
        proved = []
        ready = [key.fileobj for key, _ in self._selector.select(timeout_s)]
        # First those that are here: a new one may take their place.
        for sock in ready:
            caller = self._callers.get(sock)  # type: ignore[call-overload]
            keys = self._read(caller) if caller is not None else None
            if caller is not None and keys is not None:
                self._forget(caller)
                proved.append((caller.sock, keys))
        self._end_the_slow()
        if self._sock in ready:
            self._take_calls()
        return proved

    def _read(self, caller: _Caller) -> Keys | None:
        """Read from a caller; its keys once it has proved itself."""
        try:
            try:
                data = caller.sock.recv(caller.proof.wanted)
                if not data:
                    raise ConnectionLost("closed by the other side")
                reply = caller.proof.take(data)
                if reply and caller.sock.send(reply) != len(reply):
                    raise ConnectionLost("does not read the answer")
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise ConnectionLost(f"{error.strerror or error}") from error
        except ConnectionLost as error:
            self._on_trouble(error)
            self._send_away(caller)
            return None
        return caller.proof.keys

    def _end_the_slow(self) -> None:
        now_s = time.monotonic()
        while self._callers:
            first = next(iter(self._callers.values()))
            if first.until_s > now_s:
                return
            self._on_trouble(
                ConnectionLost(f"did not prove itself within {auth.AUTH_DEADLINE_S:g} s")
            )
            self._send_away(first)

    def _take_calls(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _SCARCE and self._callers:
                    self._make_place()
                    continue
                raise
            while len(self._callers) >= MOST_STRANGERS:
                self._make_place()
            sock.setblocking(False)
            until_s = time.monotonic() + auth.AUTH_DEADLINE_S
            proof = ServerProof(self._secret, self._link, self._end)
            caller = _Caller(sock, str(address[0]), proof, until_s)
            self._callers[sock] = caller
            self._by_host.setdefault(caller.host, {})[sock] = None
            self._selector.register(sock, selectors.EVENT_READ)

    def _make_place(self) -> None:
        # Of several hosts with as many, max() takes the one that came first.
        crowd = max(self._by_host.values(), key=len)
        self._send_away(self._callers[next(iter(crowd))])

    def _forget(self, caller: _Caller) -> None:
        self._selector.unregister(caller.sock)
        del self._callers[caller.sock]
        crowd = self._by_host[caller.host]
        del crowd[caller.sock]
        if not crowd:
            del self._by_host[caller.host]

    def _send_away(self, caller: _Caller) -> None:
        self._forget(caller)
        caller.sock.close()
