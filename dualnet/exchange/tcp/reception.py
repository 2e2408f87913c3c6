"""Where calls come in: who proves to know the run's secret is let through, strangers wait or go.

There is no queue that strangers can fill. The place for callers that have not proved themselves is
small, and when it is full, the next one takes the place of another: of the address with most of
them, the one that came first. So strangers from one address never drive out a partner at another
one. Those at the partner's own address do only where they fill the whole place in the time of the
partner's proof, two messages; it then calls again. Strangers cost no thread, and a few bytes each.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Callable

from dualnet.exchange.tcp import auth
from dualnet.exchange.tcp.auth import Answer
from dualnet.exchange.tcp.connection import Broken
from dualnet.exchange.tcp.frames import Keys

__all__ = ["Reception"]

#: Callers that have not proved themselves yet; one more takes the place of another.
MOST_STRANGERS = 128

#: Calls taken before those that wait are heard again.
_AT_ONCE = 32
#: What a process, or the machine, has no more of: a stranger's place gives one back.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Caller:
    """A connection that has yet to prove itself.

    Args:
        sock: it.
        host: where it comes from.
        answer: what it has proved so far.
        until_s: by when it has to have proved itself.
    """

    def __init__(self, sock: socket.socket, host: str, answer: Answer, until_s: float) -> None:
        self.sock, self.host, self.answer, self.until_s = sock, host, answer, until_s


class Reception:
    """Takes calls at a socket.

    Args:
        sock: listens; it stays the caller's to close.
        secret: the run's.
        role: ours.
        on_trouble: told why callers were sent away.
    """

    def __init__(
        self,
        sock: socket.socket,
        secret: bytes,
        role: str,
        on_trouble: Callable[[Broken], None] = lambda error: None,
    ) -> None:
        self._sock, self._secret, self._role = sock, secret, role
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

    def look(self, timeout_s: float) -> list[tuple[socket.socket, Keys]]:
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
            keys = self._hear(caller) if caller is not None else None
            if caller is not None and keys is not None:
                self._forget(caller)
                proved.append((caller.sock, keys))
        self._end_the_slow()
        if self._sock in ready:
            self._take_calls()
        return proved

    def _hear(self, caller: _Caller) -> Keys | None:
        """Read what a caller says; its keys once it has proved itself."""
        try:
            try:
                data = caller.sock.recv(caller.answer.wanted)
                if not data:
                    raise Broken("closed by the other side")
                reply = caller.answer.take(data)
                if reply and caller.sock.send(reply) != len(reply):
                    raise Broken("does not listen to the answer")
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise Broken(f"{error.strerror or error}") from error
        except Broken as error:
            self._on_trouble(error)
            self._send_away(caller)
            return None
        return caller.answer.keys

    def _end_the_slow(self) -> None:
        now_s = time.monotonic()
        while self._callers:
            first = next(iter(self._callers.values()))
            if first.until_s > now_s:
                return
            self._on_trouble(Broken(f"did not prove itself within {auth.AUTH_DEADLINE_S:g} s"))
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
            caller = _Caller(sock, str(address[0]), Answer(self._secret, self._role), until_s)
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
