"""A slow wire between two virtual network cards, for kernels without netem (Linux, root).

A packet that one card sends is read here, waits, and is given to the other card:

    card a  ->  [ queue | sending at the rate ]  ->  under way for the latency  ->  card b

and the same from b to a, each direction with a line of its own.
`python -m dualnet.bench.network.wire SPEC` does that until its standard input ends; each line that
it reads there it answers with a line of JSON, what it has carried so far and the processor time
that this took. SPEC is JSON: the cards' descriptors, which are inherited, the latency and the
rate.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional

__all__ = ["MTU_BYTES", "Carried", "Line", "main", "open_card"]

#: The largest packet. Few, large packets: the work here is by the packet.
MTU_BYTES = 65520

#: How much sending time may wait here; the rest waits in the card, and nothing is lost.
_QUEUE_S = 0.005
#: Packets read from a card before the other one is read.
_AT_ONCE = 16
#: The shortest sleep, as a share of the latency. Packets due within one sleep are delivered
#: together, like interrupt coalescing; each is late by at most that. It saves half of the work.
_SLEEP_SHARE = 0.1

# linux/if_tun.h. The header of virtio_net before each packet carries "checksum not computed" from
# card to card, so that nobody computes any.
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _TUN_F_CSUM = 0x1, 0x1000, 0x4000, 0x1
_VNET_HEADER_BYTES = 10


@dataclass(frozen=True)
class Carried:
    """What the process has done so far.

    Attributes:
        cpu_s: Processor time that it took.
        packets: In both directions.
        bytes: Of these.
    """

    cpu_s: float
    packets: int
    bytes: int


class Line:
    """One direction: packets leave in order, at a rate, and arrive a latency later.

    Args:
        bits_per_s: The rate.
        latency_s: From a packet's last bit leaving to its arrival.
        queue_s: How much sending time may wait; a packet may exceed it.
    """

    def __init__(self, bits_per_s: float, latency_s: float, queue_s: float = _QUEUE_S) -> None:
        self._byte_s = 8 / bits_per_s
        self._latency_s, self._queue_s = latency_s, queue_s
        self._free_s = float("-inf")
        self._packets: deque[tuple[float, bytes]] = deque()
        #: Packets and bytes taken so far.
        self.packets = self.bytes = 0

    def room_at_s(self) -> float:
        """When the next packet may be put; a time that is past: at once."""
        return self._free_s - self._queue_s

    def due_s(self) -> Optional[float]:
        """When the next packet arrives; None: nothing is under way."""
        return self._packets[0][0] if self._packets else None

    def put(self, packet: bytes, size: int, now_s: float) -> None:
        """Send a packet.

        Args:
            packet: What `take` returns.
            size: Its bytes on the wire.
            now_s: The time.
        """
        self._free_s = max(self._free_s, now_s) + size * self._byte_s
        self._packets.append((self._free_s + self._latency_s, packet))
        self.packets += 1
        self.bytes += size

    def take(self, now_s: float) -> list[bytes]:
        """The packets that have arrived."""
        found = []
        while self._packets and self._packets[0][0] <= now_s:
            found.append(self._packets.popleft()[1])
        return found


def open_card(name: str) -> int:
    """Make a virtual card (tun); returns the descriptor of its other side.

    Args:
        name: The card's.

    Raises:
        OSError: There is no /dev/net/tun, it may not be used, or the name is taken.
    """
    card = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(card, _TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), flags))
        fcntl.ioctl(card, _TUNSETOFFLOAD, _TUN_F_CSUM)
    except OSError:
        os.close(card)
        raise
    return card


def main(spec: dict[str, Any]) -> None:
    """Carry packets until standard input ends."""
    cards = spec["cards"]
    # From card i; what arrives goes to the other.
    lines = [Line(spec["bits_per_s"], spec["latency_s"]) for _ in cards]
    sleep_s = _SLEEP_SHARE * spec["latency_s"]
    _raise_priority()
    while True:
        asked = _carry(cards, lines, sleep_s)
        if asked is None:
            continue
        if not asked:
            return
        carried = Carried(
            time.process_time(), sum(x.packets for x in lines), sum(x.bytes for x in lines)
        )
        os.write(1, (json.dumps(asdict(carried)) + "\n").encode("ascii"))


def _carry(cards: Sequence[int], lines: Sequence[Line], sleep_s: float) -> Optional[bytes]:
    """Sleep until packets are due or arrive, and carry them; returns what standard input says."""
    now_s = time.monotonic()
    waits_s, open_cards = [], [0]
    for card, line in zip(cards, lines):
        due_s, room_at_s = line.due_s(), line.room_at_s()
        if due_s is not None:
            waits_s.append(due_s - now_s)
        if room_at_s <= now_s:
            open_cards.append(card)
        else:
            waits_s.append(room_at_s - now_s)
    timeout_s = max(sleep_s, min(waits_s)) if waits_s else None
    # Of select, poll and epoll only this one waits for less than a millisecond.
    ready = select.select(open_cards, [], [], timeout_s)[0]
    for number, (card, line) in enumerate(zip(cards, lines)):
        if card in ready:
            _fill(card, line)
        for packet in line.take(time.monotonic()):
            _deliver(cards[1 - number], packet)
    return os.read(0, 4096) if 0 in ready else None


def _fill(card: int, line: Line) -> None:
    """Read what the card sends, as far as there is room."""
    for _ in range(_AT_ONCE):
        now_s = time.monotonic()
        if line.room_at_s() > now_s:
            return
        try:
            packet = os.read(card, MTU_BYTES + _VNET_HEADER_BYTES)
        except BlockingIOError:
            return
        line.put(packet, len(packet) - _VNET_HEADER_BYTES, now_s)


def _deliver(card: int, packet: bytes) -> None:
    try:
        os.write(card, packet)
    except OSError:
        pass  # the card is down, or refuses it: a lost packet, as on any wire


def _raise_priority() -> None:
    """Raise this process's priority above the measured ones, so that the link adds no waiting."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        pass  # not allowed here; the check of the link shows what comes of it


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
