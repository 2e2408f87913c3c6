"""The check of a link, between two sockets; what is doubtful about its result."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from dualnet.bench.network import link_check
from dualnet.bench.network.link import Link
from dualnet.bench.network.link_check import doubt


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_both_ends_measure_both_directions(capsys):
    # On the loopback: no rate to compare with, but nothing that can be wrong by much either.
    spec = {"address": "127.0.0.1", "port": free_port(), "bytes": 3_000_000}
    listener = threading.Thread(target=link_check.main, args=({**spec, "role": "listen"},))
    listener.start()
    link_check.main({**spec, "role": "call"})
    listener.join(30)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"rtt_ms", "mb_per_s", "mb_per_s_at_once"}
    assert found["rtt_ms"] >= 0
    for key in ("mb_per_s", "mb_per_s_at_once"):
        assert len(found[key]) == 2 and min(found[key]) > 0


def test_missing_bytes_are_an_error():
    near, far = socket.socketpair()
    with near, far:
        far.sendall(bytes(100))
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError, match="156 bytes missing"):
            link_check._receive(near, 256)


@pytest.mark.parametrize(
    "rtt_ms, mb_per_s, wrong",
    [
        (20.4, 124.0, ""),
        (20.0, 113.0, ""),
        (19.9, 124.0, "19.9 ms, not 20 ms"),
        (22.5, 124.0, "22.5 ms, not 20 ms"),
        (20.4, 112.0, "112 MB/s pass, not 125 MB/s"),
        (20.4, 140.0, "140 MB/s pass, not 125 MB/s"),
    ],
)
def test_a_link_that_is_not_what_was_asked_for_is_doubted(rtt_ms, mb_per_s, wrong):
    said = doubt(Link(10.0, 1.0, "tun"), rtt_ms, mb_per_s)
    assert wrong in said and bool(said) == bool(wrong)
