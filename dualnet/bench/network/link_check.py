"""What a slow link does to a plain TCP socket: round trip and rate, measured from both its ends.

`python -m dualnet.bench.network.link_check SPEC` is one end. SPEC is JSON: role (`listen` or
`call`), address, port, and bytes, what each measurement of the rate sends. The one that calls
prints the result as JSON.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from statistics import median
from typing import Any

from dualnet.bench.network.link import ENDS, Link
from dualnet.errors import DualnetError

__all__ = ["check", "doubt", "main"]

#: How long each measurement sends, at the full rate.
_FULL_S = 0.8
#: What the rate may be off, and how late a round trip may be, in ms, before the link is doubted.
_RATE_SLACK, _RTT_SLACK_MS = 0.1, 2.0
#: Round trips that are timed.
_PINGS = 20
_PIECE_BYTES = 1 << 20
#: How long either end waits for the other.
_TIMEOUT_S = 30.0
_ALL_TIMEOUT_S = 120.0


def check(link: Link, port: int) -> dict[str, Any]:
    """Measure a link.

    Args:
        link: It.
        port: One that is free at its first end.

    Returns:
        `kind`, `refusal`, `latency_ms` and `gbit` of the link; `rtt_ms`, the median round trip of
        one byte; `mb_per_s` from the first end to the second and back, one after the other, and
        `mb_per_s_at_once`; `cpu_share`, what a core gives for one direction at the full rate, None
        where the kernel does that; `doubt`, what is wrong with the link, or "".

    Raises:
        DualnetError: Nothing comes through.
    """
    before = link.carried()
    answer = json.loads(_run_ends(port, int(link.gbit * 1e9 / 8 * _FULL_S)))
    after = link.carried()
    share = None
    if before is not None and after is not None:
        full_s = (after.bytes - before.bytes) * 8 / (link.gbit * 1e9)
        share = round((after.cpu_s - before.cpu_s) / full_s, 3)
    return {
        "kind": link.kind, "refusal": link.refusal,
        "latency_ms": link.latency_ms, "gbit": link.gbit, **answer,
        "cpu_share": share, "doubt": doubt(link, answer["rtt_ms"], min(answer["mb_per_s"])),
    }  # fmt: skip


def doubt(link: Link, rtt_ms: float, mb_per_s: float) -> str:
    """What is wrong with a link; empty: nothing."""
    rtt_wanted_ms, wanted = 2 * link.latency_ms, link.gbit * 125
    if not 0 <= rtt_ms - rtt_wanted_ms <= _RTT_SLACK_MS:
        return f"a round trip takes {rtt_ms:g} ms, not {rtt_wanted_ms:g} ms"
    if abs(mb_per_s / wanted - 1) > _RATE_SLACK:
        return f"{mb_per_s:g} MB/s pass, not {wanted:g} MB/s"
    return ""


def _run_ends(port: int, size: int) -> bytes:
    """What the first end printed."""
    spec = {"address": ENDS[1].address, "port": port, "bytes": size}
    ends = [
        subprocess.Popen(
            [*end.prefix, sys.executable, "-m", "dualnet.bench.network.link_check",
             json.dumps({**spec, "role": role})],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )
        for end, role in zip(ENDS, ("call", "listen"))
    ]  # fmt: skip
    try:
        answers = [end.communicate(timeout=_ALL_TIMEOUT_S)[0] for end in ends]
    except subprocess.TimeoutExpired:
        raise DualnetError(f"the link: no answer within {_ALL_TIMEOUT_S:g} s") from None
    finally:
        for end in ends:
            end.kill()
            end.wait()
    if any(end.returncode for end in ends):
        raise DualnetError(f"the link: exit codes {[end.returncode for end in ends]}")
    return answers[0]


def main(spec: dict[str, Any]) -> None:
    """Be one end."""
    with _connect(spec) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if spec["role"] == "listen":
            _answer(sock, spec["bytes"])
        else:
            sys.stdout.write(json.dumps(_ask(sock, spec["bytes"])) + "\n")


def _ask(sock: socket.socket, size: int) -> dict[str, Any]:
    pings_s = []
    for _ in range(_PINGS):
        began_s = time.perf_counter()
        sock.sendall(b".")
        _read(sock, 1)
        pings_s.append(time.perf_counter() - began_s)
    _send(sock, size)
    _read(sock, 1)  # all has come
    sock.sendall(b".")
    down = _receive(sock, size)
    sock.sendall(b".")
    down_at_once = _exchange(sock, size)
    with sock.makefile("r", encoding="ascii") as answers:
        up, up_at_once = json.loads(answers.readline())
    return {
        "rtt_ms": round(median(pings_s) * 1e3, 2), "mb_per_s": [round(up, 1), round(down, 1)],
        "mb_per_s_at_once": [round(up_at_once, 1), round(down_at_once, 1)],
    }  # fmt: skip


def _answer(sock: socket.socket, size: int) -> None:
    for _ in range(_PINGS):
        sock.sendall(_read(sock, 1))
    up = _receive(sock, size)
    sock.sendall(b".")
    _read(sock, 1)
    _send(sock, size)
    _read(sock, 1)
    up_at_once = _exchange(sock, size)
    sock.sendall((json.dumps([up, up_at_once]) + "\n").encode("ascii"))


def _connect(spec: dict[str, Any]) -> socket.socket:
    place = (spec["address"], spec["port"])
    if spec["role"] == "listen":
        with socket.create_server(place) as server:
            server.settimeout(_TIMEOUT_S)
            sock, _ = server.accept()
    else:
        sock = _call(place)
    sock.settimeout(_TIMEOUT_S)
    return sock


def _call(place: tuple[str, int]) -> socket.socket:
    """Until the other end listens."""
    last_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return socket.create_connection(place, _TIMEOUT_S)
        except ConnectionRefusedError:
            if time.monotonic() > last_s:
                raise
            time.sleep(0.05)


def _exchange(sock: socket.socket, size: int) -> float:
    """Send and receive at once; returns the rate of what was received, in MB/s."""
    sender = threading.Thread(target=_send, args=(sock, size))
    sender.start()
    rate = _receive(sock, size)
    sender.join()
    return rate


def _send(sock: socket.socket, size: int) -> None:
    piece = bytes(_PIECE_BYTES)
    while size > 0:
        sock.sendall(piece[:size] if size < len(piece) else piece)
        size -= len(piece)


def _receive(sock: socket.socket, size: int) -> float:
    """Read so many bytes; returns the rate of all but the first quarter, in MB/s.

    In that quarter TCP finds out how fast it may send.
    """
    buffer = memoryview(bytearray(_PIECE_BYTES))
    left, began_s, began_left = size, 0.0, size
    while left:
        count = sock.recv_into(buffer, min(left, len(buffer)))
        if not count:
            raise ConnectionError(f"the other end closed with {left} bytes missing")
        left -= count
        if not began_s and left <= 0.75 * size:
            began_s, began_left = time.perf_counter(), left
    return began_left / (time.perf_counter() - began_s) / 1e6


def _read(sock: socket.socket, size: int) -> bytes:
    found = sock.recv(size)
    if not found:
        raise ConnectionError("the other end closed")
    return found


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
