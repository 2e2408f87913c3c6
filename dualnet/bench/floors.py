"""The machine's own times for moving bytes: the lower limit of any carrier's."""

from __future__ import annotations

import os
import socket
import threading
import time

import numpy as np

__all__ = ["bare_files", "bare_socket", "copies"]


def copies(nbytes: int, seconds: float) -> list[float]:
    """Times in seconds of `numpy.copyto` within this process.

    Args:
        nbytes: Of a copy.
        seconds: How long to go on, about.
    """
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started_s = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - started_s)
    return times


def bare_socket(nbytes: int, seconds: float) -> list[float]:
    """One-way times in seconds over TCP on this machine: no digest, no MAC, no frame."""
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    times: list[float] = []

    def give_back(sock: socket.socket) -> None:
        while _fill(sock, target.data):
            sock.sendall(target.data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    with one, two:
        other = threading.Thread(target=give_back, args=(two,), daemon=True)
        other.start()
        while 2 * sum(times) < seconds or len(times) < 3:
            started_s = time.perf_counter()
            one.sendall(source.data)
            _fill(one, source.data)
            times.append((time.perf_counter() - started_s) / 2)
        one.shutdown(socket.SHUT_RDWR)
        other.join()
    return times


def _fill(sock: socket.socket, buffer: memoryview) -> bool:
    """Receive exactly a buffer; False at the end."""
    while len(buffer):
        count = sock.recv_into(buffer)
        if count == 0:
            return False
        buffer = buffer[count:]
    return True


def bare_files(nbytes: int, seconds: float, folder: str) -> list[float]:
    """Times in seconds to write, rename and read a file: no digest, no record, nobody waits."""
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    path = os.path.join(folder, "bare")
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started_s = time.perf_counter()
        with open(path + ".tmp", "wb", buffering=0) as file:
            file.write(source.data)
        os.rename(path + ".tmp", path)
        with open(path, "rb", buffering=0) as file:
            file.readinto(target.data)
        times.append(time.perf_counter() - started_s)
        os.unlink(path)
    return times
