"""Making the connection, and making it again.

net1 listens, net2 calls. Each caller proves itself in a thread of its own with a deadline, so that
strangers and silent callers delay nobody; a connection that is proved is handed to `serve`, which
returns when it is broken.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import Callable

from dualnet.exchange.tcp.address import Address
from dualnet.exchange.tcp.auth import answer, ask
from dualnet.exchange.tcp.connection import Broken
from dualnet.exchange.tcp.frames import Keys

__all__ = ["Dialer", "Link", "Listener"]

LOGGER = logging.getLogger(__name__)

#: Callers that have not proved themselves yet; more are turned away.
MOST_STRANGERS = 16

_CONNECT_TIMEOUT_S = 5.0
_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0

Serve = Callable[[socket.socket, Keys], None]


class Link:
    """Provides connections to one half until it is closed.

    Args:
        role: ours.
        secret: the run's.
        serve: uses a connection and returns when it is broken.

    Attributes:
        trouble: why the last attempt failed, "" if none did.
    """

    def __init__(self, role: str, secret: bytes, serve: Serve) -> None:
        self._role = role
        self._secret = secret
        self._serve = serve
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dualnet-tcp", daemon=True)
        self.trouble = ""
        self._served = 0

    def start(self) -> None:
        """Begin, in a thread that does not keep the process alive."""
        self._thread.start()

    def close(self) -> None:
        """No more connections; those there are stay."""
        self._closed.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end after `close`."""
        if self._thread.is_alive():  # else it may never have been started
            self._thread.join(timeout_s)

    def _run(self) -> None:
        raise NotImplementedError

    def _use(self, sock: socket.socket, prove: Callable[..., Keys]) -> None:
        """Authenticate a connection and hand it over; nothing is raised."""
        try:
            try:
                keys = prove(sock, self._secret, self._role)
            except Broken as error:
                self._note(str(error))
                return
            self.trouble = ""
            self._served += 1
            self._serve(sock, keys)
        finally:
            sock.close()

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            LOGGER.info("%s: %s", self._role, trouble)
        self.trouble = trouble


class Listener(Link):
    """Takes calls.

    Args:
        sock: listens.
    """

    def __init__(self, role: str, secret: bytes, serve: Serve, sock: socket.socket) -> None:
        super().__init__(role, secret, serve)
        self._sock = sock
        self._sock.settimeout(0.5)
        self._strangers = threading.BoundedSemaphore(MOST_STRANGERS)

    def close(self) -> None:
        """See `Link.close`; callers in the queue are turned away at once."""
        super().close()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass  # closed already
        if not self._thread.is_alive():  # could not be started: nobody else closes it
            self._sock.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                sock, _ = self._sock.accept()
            except socket.timeout:
                continue
            except OSError as error:
                if not self._closed.wait(_SHORTEST_PAUSE_S):
                    self._note(f"cannot take calls: {error.strerror or error}")
                continue
            if not self._strangers.acquire(blocking=False):
                sock.close()
                continue
            threading.Thread(
                target=self._use, args=(sock, self._prove), name="dualnet-tcp-call", daemon=True
            ).start()
        self._sock.close()

    def _prove(self, sock: socket.socket, secret: bytes, role: str) -> Keys:
        try:
            return answer(sock, secret, role)
        finally:
            self._strangers.release()


class Dialer(Link):
    """Calls until somebody answers, and again when the connection is broken.

    Args:
        addresses: where to try, best first; asked before each round.
    """

    def __init__(
        self, role: str, secret: bytes, serve: Serve, addresses: Callable[[], list[Address]]
    ) -> None:
        super().__init__(role, secret, serve)
        self._addresses = addresses

    def _run(self) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while not self._closed.is_set():
            self._served = 0
            for address in self._addresses():
                self._call(address)
                if self._served or self._closed.is_set():
                    break
            # A connection that came about was no failure, however it ended.
            pause_s = _SHORTEST_PAUSE_S if self._served else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._closed.wait(pause_s)

    def _call(self, address: Address) -> None:
        try:
            sock = socket.create_connection((address.host, address.port), _CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError) as error:  # the latter for what can be no host's name
            self._note(f"cannot reach {address}: {getattr(error, 'strerror', None) or error}")
            return
        self._use(sock, ask)
