"""A slow link between namespaces. What needs root and /dev/net/tun skips without them."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from dualnet.bench.network.link import ENDS, kernel_queue, slow_link
from dualnet.bench.network.link_check import check
from dualnet.errors import DualnetError, UsageError
from tests.bench.root import needs_root

PORT = 29537


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch, repository):
    monkeypatch.setenv("PYTHONPATH", str(repository))


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout


def test_the_kernels_queue_holds_what_is_under_way():
    words = kernel_queue(10.0, 1.0)
    assert words[:5] == ["netem", "delay", "10.0ms", "rate", "1000mbit"]
    assert int(words[-1]) * 1500 > 2 * 1e9 / 8 * 0.010
    assert kernel_queue(0.0, 1.0)[0] == "tbf"


@needs_root
def test_a_link_of_tun_cards_delays_and_limits():
    with slow_link(20.0, 0.1, "tun") as link:
        began_s = time.monotonic()
        found = check(link, PORT)
        elapsed_s = time.monotonic() - began_s
        assert link.carried().bytes > 4 * 0.8 * 0.1e9 / 8
    assert found["kind"] == "tun" and found["refusal"] == ""
    assert found["rtt_ms"] >= 40.0
    assert min(found["mb_per_s"] + found["mb_per_s_at_once"]) > 0
    # 20 round trips; 0.8 s of the full rate up, down, and in both directions at once.
    assert elapsed_s >= 20 * 0.040 + 3 * 0.8
    assert found["cpu_share"] > 0
    assert not any(end.namespace in namespaces() for end in ENDS)


@needs_root
def test_a_second_link_leaves_the_first_alone():
    with slow_link(1.0, 1.0, "tun") as link:
        with pytest.raises(UsageError, match=ENDS[0].namespace), slow_link(1.0, 1.0):
            pass
        assert all(end.namespace in namespaces() for end in ENDS)
        assert link.carried().packets >= 0


@needs_root
def test_a_kernel_without_netem_is_found_out():
    with slow_link(5.0, 1.0) as link:
        kind, refusal = link.kind, link.refusal
        assert (link.carried() is None) == (kind == "netem")
    if kind == "netem":
        assert refusal == ""
        return
    assert kind == "tun" and refusal.startswith("the kernel has no netem: ")
    with pytest.raises(UsageError, match="netem"), slow_link(5.0, 1.0, "kernel"):
        pass
    assert not any(end.namespace in namespaces() for end in ENDS)


@needs_root
def test_an_end_of_the_process_is_said():
    with slow_link(1.0, 1.0, "tun") as link:
        link._wire.kill()
        link._wire.wait()
        with pytest.raises(DualnetError, match="ended"):
            link.carried()


@needs_root
def test_commands_run_at_their_end():
    code = "import socket, json; print(json.dumps([n for _, n in socket.if_nameindex()]))"
    with slow_link(1.0, 1.0, "tun"):
        for end in ENDS:
            done = subprocess.run([*end.prefix, sys.executable, "-c", code], capture_output=True)
            assert set(json.loads(done.stdout)) >= {"lo", end.card}
