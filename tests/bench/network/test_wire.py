"""A line on a clock of our own has closed forms; the process carries what is put into sockets.

No bound from above on how long something takes: on a busy machine a wire is late, but never early.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualnet.bench.network.wire import Line

BITS_PER_S, LATENCY_S = 8e6, 0.010  # a byte takes a microsecond


def arrivals(line, until_s):
    """(time, packet) of all that is under way, to the microsecond."""
    found = []
    while line.due_s() is not None and line.due_s() <= until_s:
        now_s = line.due_s()
        found += [(round(now_s, 6), packet) for packet in line.take(now_s)]
    return found


def test_a_packet_is_sent_and_then_on_its_way():
    line = Line(BITS_PER_S, LATENCY_S)
    line.put(b"one", 1500, 2.0)
    assert line.due_s() == pytest.approx(2.0 + 0.0015 + 0.010)
    assert line.take(2.0114) == []
    assert line.take(2.0116) == [b"one"]
    assert line.due_s() is None and line.take(9.0) == []
    assert (line.packets, line.bytes) == (1, 1500)


def test_packets_wait_for_those_before_them():
    line = Line(BITS_PER_S, LATENCY_S)
    for number in range(4):
        line.put(bytes([number]), 1000, 0.0)
    assert arrivals(line, 1.0) == [(0.011, b"\0"), (0.012, b"\1"), (0.013, b"\2"), (0.014, b"\3")]


def test_an_idle_line_saves_nothing_up():
    line = Line(BITS_PER_S, LATENCY_S)
    line.put(b"a", 1000, 0.0)
    line.put(b"b", 1000, 0.5)
    line.put(b"c", 1000, 0.5)
    assert arrivals(line, 1.0) == [(0.011, b"a"), (0.511, b"b"), (0.512, b"c")]


def test_the_queue_has_room_again_when_enough_is_sent():
    line = Line(BITS_PER_S, LATENCY_S, queue_s=0.002)
    assert line.room_at_s() < 0.0
    line.put(b"a", 1500, 0.0)
    assert line.room_at_s() == pytest.approx(-0.0005)
    line.put(b"b", 1500, 0.0)
    assert line.room_at_s() == pytest.approx(0.001)  # then 2 ms of 3 are left to send


PACKETS = st.lists(st.tuples(st.integers(0, 5000), st.integers(20, 65520)), min_size=1, max_size=40)


@given(PACKETS)
def test_nothing_is_early_and_never_more_passes_than_the_rate(packets):
    line, clock_us = Line(BITS_PER_S, LATENCY_S), 0
    put_us, sizes = [], []
    for number, (pause_us, size) in enumerate(packets):
        clock_us += pause_us
        line.put(number.to_bytes(2, "big"), size, clock_us * 1e-6)
        put_us.append(clock_us)
        sizes.append(size)
    found = arrivals(line, 1e3)
    assert [int.from_bytes(packet, "big") for _, packet in found] == list(range(len(packets)))
    came_us = [round(time_s * 1e6) for time_s, _ in found]
    for first in range(len(packets)):
        assert came_us[first] >= put_us[first] + sizes[first] + 10_000
        # From here on: the line was taken all the time, or a packet found it free.
        for last in range(first + 1, len(packets)):
            assert came_us[last] - came_us[first] >= sum(sizes[first + 1 : last + 1])


# The process, between pairs of sockets that keep packets apart as cards do.


@pytest.fixture
def wire(repository):
    """(outer ends of both cards, the process)."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    for _, inner in pairs:
        inner.setblocking(False)
    cards = [inner.fileno() for _, inner in pairs]
    spec = {"cards": cards, "bits_per_s": BITS_PER_S, "latency_s": 0.050}
    process = subprocess.Popen(
        [sys.executable, "-m", "dualnet.bench.network.wire", json.dumps(spec)], pass_fds=cards,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(repository),
    )  # fmt: skip
    for outer, inner in pairs:
        inner.close()
        outer.settimeout(30)
    with process:
        yield [outer for outer, _ in pairs], process
        process.kill()
    for outer, _ in pairs:
        outer.close()


def test_the_process_carries_both_ways_in_order_at_the_rate(wire):
    (a, b), process = wire
    packets = [os.urandom(5010) for _ in range(60)]  # 10 bytes are the card's header

    def send(card):
        for packet in packets:
            card.sendall(packet)

    def receive(card, found):
        # At once on both sides: what a socket has no room for is lost.
        found += [card.recv(65536) for _ in packets]
        found.append(time.monotonic() - began_s)

    up, down, began_s = [], [], time.monotonic()
    threads = [
        *(threading.Thread(target=send, args=(card,)) for card in (a, b)),
        *(threading.Thread(target=receive, args=place) for place in ((b, up), (a, down))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found in (up, down):
        assert found[:-1] == packets
        assert found[-1] >= 60 * 5000 * 8 / BITS_PER_S + 0.050
    process.stdin.write(b"\n")
    process.stdin.flush()
    carried = json.loads(process.stdout.readline())
    assert carried["packets"] == 120 and carried["bytes"] == 120 * 5000
    assert 0 < carried["cpu_s"] < time.monotonic() - began_s + 30


def test_the_process_ends_with_its_input(wire):
    _, process = wire
    process.stdin.close()
    assert process.wait(30) == 0
