"""Connections to a piece's port that say nothing, and come again when they are closed."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from scripts.fault_campaign.crowd import descendants

__all__ = ["Strangers", "listening_ports"]

_PAUSE_S = 0.1
_LISTENS = "0A"


class Strangers:
    """A process that keeps silent connections open to whatever the processes of ours listen at.

    Args:
        count: connections to each port.
    """

    def __init__(self, count: int) -> None:
        family = os.getpid()
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                _crowd(family, count)
            finally:
                os._exit(1)
        self.pid: Optional[int] = pid

    def stop(self) -> None:
        """End all of them; may be called twice."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None


def _crowd(family: int, count: int) -> None:
    open_: dict[int, list[socket.socket]] = {}
    while os.getppid() == family:
        ports = listening_ports(descendants(family))
        for port in set(open_) - ports:
            for sock in open_.pop(port):
                sock.close()
        for port in ports:
            alive = [sock for sock in open_.get(port, []) if not _is_closed(sock)]
            while len(alive) < count:
                sock = socket.socket()
                sock.settimeout(0.2)
                try:
                    sock.connect(("127.0.0.1", port))
                except OSError:
                    sock.close()
                    break
                sock.setblocking(False)
                alive.append(sock)
            open_[port] = alive
        time.sleep(_PAUSE_S)


def _is_closed(sock: socket.socket) -> bool:
    try:
        while sock.recv(1 << 12):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    sock.close()
    return True


def listening_ports(pids: Iterable[int]) -> set[int]:
    """TCP ports at which processes listen, of whatever address.

    Args:
        pids: process numbers.
    """
    inodes = set()
    for pid in pids:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        except OSError:
            continue
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
