"""A wire between two pieces that a test can cut, change and record."""

from __future__ import annotations

import socket
import threading
from typing import Callable


class Proxy:
    """Listens on a port of its own and passes bytes on to another, both ways.

    Args:
        port: where net1 listens; asked at each call.

    Attributes:
        change: is given each part with its direction ("up" is what net2 sends to net1) and the
            bytes passed so far; returns what to pass on, or None to cut the connection.
        connections: calls so far.
        is_down: turns calls away.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._sock.getsockname()[1]
        self.change: Callable[[str, int, bytes], bytes | None] = lambda way, passed, data: data
        self.connections = 0
        self.is_down = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def cut(self) -> None:
        """Break every connection."""
        opened, self._open = self._open, []
        for sock in opened:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def close(self) -> None:
        """The end."""
        self.is_down = True
        self._sock.close()
        self.cut()

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._sock.accept()
            except OSError:
                return
            if self.is_down:
                caller.close()
                continue
            try:
                called = socket.create_connection(("127.0.0.1", self._port()))
            except OSError:
                caller.close()
                continue
            self.connections += 1
            self._open += [caller, called]
            for way, source, target in (("up", caller, called), ("down", called, caller)):
                threading.Thread(target=self._pass, args=(way, source, target), daemon=True).start()

    def _pass(self, way: str, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        try:
            while True:
                data = source.recv(1 << 16)
                changed = self.change(way, passed, data) if data else None
                passed += len(data)
                if changed is None:
                    break
                target.sendall(changed)
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
