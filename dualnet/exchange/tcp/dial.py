"""Makes the connections of a link, and new ones when they are lost.

The lower end of a link listens, the upper end calls. Callers prove themselves in reception.py,
where strangers and silent ones delay nobody; an authenticated connection is handed to `serve`, in a
thread of its own, which returns when the connection is lost.

Whoever finds that the other side has another secret logs a warning at once. It never ends a process
that listens, for any stranger can connect; only a process that calls, and has never reached its
neighbour, takes what answers at the configured address for its neighbour, and gives up.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Callable

from dualnet.children import close_in_children
from dualnet.exchange.link import Link
from dualnet.exchange.tcp.address import Address
from dualnet.exchange.tcp.auth import WrongSecret, authenticate_client
from dualnet.exchange.tcp.connection import ConnectionLost
from dualnet.exchange.tcp.frames import Keys
from dualnet.exchange.tcp.reception import Reception

__all__ = ["Connector", "Dialer", "Listener"]

LOGGER = logging.getLogger(__name__)

#: Without calls: time between two checks whether this is closed.
_POLL_S = 0.5
#: Time between two warnings.
_WARN_S = 60.0
#: How long another secret must answer before it is taken for the neighbour's.
_SURE_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0

Serve = Callable[[socket.socket, Keys], None]


class Connector:
    """Provides connections to one neighbour until it is closed.

    Args:
        link: the link.
        piece: ours, at one end of it.
        secret: the run's.
        serve: uses a connection and returns when it is lost.

    Attributes:
        trouble: why the last attempt failed, "" if none did.
    """

    def __init__(self, link: Link, piece: str, secret: bytes, serve: Serve) -> None:
        self._link, self._piece, self._end = link, piece, link.end(piece)
        self._secret = secret
        self._serve = serve
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dualnet-tcp", daemon=True)
        self.trouble = ""
        self._served = 0
        self._warned_s = -float("inf")

    def start(self) -> None:
        """Begin, in a thread that does not keep the process alive."""
        self._thread.start()

    def close(self) -> None:
        """Make no more connections; those that there are stay."""
        self._closed.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end after `close`."""
        if self._thread.is_alive():  # else it may never have been started
            self._thread.join(timeout_s)

    def _run(self) -> None:
        raise NotImplementedError

    def _use(self, sock: socket.socket, keys: Keys) -> None:
        """Hand an authenticated connection over."""
        close_in_children(sock)
        try:
            self.trouble = ""
            self._served += 1
            self._serve(sock, keys)
        finally:
            sock.close()

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            LOGGER.info("%s: %s", self._piece, trouble)
        self.trouble = trouble

    def _warn(self, trouble: str) -> None:
        """Log what a person has to mend, once a minute at most: strangers can cause it."""
        now_s = time.monotonic()
        if now_s - self._warned_s >= _WARN_S:
            self._warned_s = now_s
            LOGGER.warning("%s: %s", self._piece, trouble)


class Listener(Connector):
    """Accepts connections.

    Args:
        sock: listens.

    Raises:
        OSError: from the system.
    """

    def __init__(
        self, link: Link, piece: str, secret: bytes, serve: Serve, sock: socket.socket
    ) -> None:
        super().__init__(link, piece, secret, serve)
        self._sock = sock
        close_in_children(sock)
        #: Holds callers that have not proved themselves. Made here and not in the thread, so that a
        #: process that may open no more files fails at once.
        self.reception = Reception(sock, secret, link, self._end, self._turned_away)

    def close(self) -> None:
        """See `Connector.close`; callers in the queue are turned away at once."""
        super().close()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass  # closed already
        if not self._thread.is_alive():  # could not be started: nobody else closes them
            self.reception.close()
            self._sock.close()

    def _run(self) -> None:
        reception = self.reception
        try:
            while not self._closed.is_set():
                try:
                    for sock, keys in reception.poll(_POLL_S):
                        self._let_in(sock, keys)
                except OSError as error:
                    if not self._closed.wait(_SHORTEST_PAUSE_S):
                        self._note(f"cannot take calls: {error.strerror or error}")
        finally:
            reception.close()
            self._sock.close()

    def _let_in(self, sock: socket.socket, keys: Keys) -> None:
        thread = threading.Thread(
            target=self._use, args=(sock, keys), name="dualnet-tcp-call", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no room for one more thread: it calls again
            sock.close()
            self._note(str(error))

    def _turned_away(self, error: ConnectionLost) -> None:
        if isinstance(error, WrongSecret):
            self._warn(
                f"{error}; if that is {self._link.upper}, copy {self._piece}'s exchange/secret to "
                "its node"
            )
        self._note(str(error))


class Dialer(Connector):
    """Calls until somebody answers, and again when the connection is lost.

    Args:
        addresses: where to try, best first; asked before each round.
        on_wrong_secret: called when whoever answers has had another secret for a second, and nobody
            with ours has ever answered.
    """

    def __init__(
        self,
        link: Link,
        piece: str,
        secret: bytes,
        serve: Serve,
        addresses: Callable[[], list[Address]],
        on_wrong_secret: Callable[[Address], None] = lambda address: None,
    ) -> None:
        super().__init__(link, piece, secret, serve)
        self._addresses = addresses
        self._on_wrong_secret = on_wrong_secret
        self._was_connected = False
        self._wrong_since_s: float | None = None

    def _run(self) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while not self._closed.is_set():
            self._served = 0
            for address in self._addresses():
                self._call(address)
                if self._served or self._closed.is_set():
                    break
            # A connection that was made was no failure, however it ended.
            pause_s = _SHORTEST_PAUSE_S if self._served else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._closed.wait(pause_s)

    def _call(self, address: Address) -> None:
        try:
            sock = socket.create_connection((address.host, address.port), _CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError) as error:  # the latter: no host name
            self._note(f"cannot reach {address}: {getattr(error, 'strerror', None) or error}")
            return
        try:
            keys = authenticate_client(sock, self._secret, self._link, self._end)
        except ConnectionLost as error:
            sock.close()
            self._note(str(error))
            if isinstance(error, WrongSecret):
                self._wrong_secret(error, address)
            return
        self._wrong_since_s = None
        self._was_connected = True
        self._use(sock, keys)

    def _wrong_secret(self, error: WrongSecret, address: Address) -> None:
        self._warn(f"{error} ({address}); copy {self._link.lower}'s exchange/secret to this node")
        now_s = time.monotonic()
        if self._wrong_since_s is None:
            self._wrong_since_s = now_s
        if not self._was_connected and now_s - self._wrong_since_s >= _SURE_S:
            self._on_wrong_secret(address)
