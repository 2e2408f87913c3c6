"""A slow link between two network namespaces of this machine (Linux, root, iproute2).

Each end is a namespace with one card. Where the kernel can, the cards are a veth pair that netem
delays and limits; else they are tun cards, and a process carries the packets (wire.py). The latency
is that of a packet on its way: it passes in each direction, and a round trip takes twice as long.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

from dualnet.bench.network.wire import MTU_BYTES, Carried, open_card
from dualnet.errors import DualnetError, UsageError

__all__ = ["ENDS", "KINDS", "End", "Link", "kernel_queue", "slow_link"]

#: Who delays the packets: the kernel, a process between tun cards, or `auto`, whoever of these can.
KINDS = ("auto", "kernel", "tun")

#: Of both namespaces, so that TCP does not wait for its own sake: windows above what can be under
#: way, and the one algorithm that every namespace may choose. What it does about lost packets does
#: not matter: this link loses none.
_SETTINGS = {
    "net/ipv4/tcp_rmem": "4096 4194304 33554432",
    "net/ipv4/tcp_wmem": "4096 4194304 33554432",
    "net/ipv4/tcp_congestion_control": "reno",
}
#: What a card keeps while the line is taken, in packets: more than two full windows.
_CARD_PACKETS = 2000


@dataclass(frozen=True)
class End:
    """One end of the link.

    Attributes:
        namespace: Its name.
        card: The network card in it.
        address: Of the card.
    """

    namespace: str
    card: str
    address: str

    @property
    def prefix(self) -> list[str]:
        """What a command begins with that is to run at this end."""
        return ["ip", "netns", "exec", self.namespace]


ENDS = (
    End("dualnet-a", "dualnet-va", "10.231.77.1"),
    End("dualnet-b", "dualnet-vb", "10.231.77.2"),
)


class Link:
    """The link while it is there.

    Args:
        latency_ms: Of each direction.
        gbit: The rate of each direction, in Gbit/s.
        kind: `netem`, `tbf` or `tun`.
        refusal: Why it is `tun`; empty: as asked.
        wire: The process that carries the packets, if one does.
    """

    def __init__(
        self,
        latency_ms: float,
        gbit: float,
        kind: str,
        refusal: str = "",
        wire: Optional[subprocess.Popen[bytes]] = None,
    ) -> None:
        self.latency_ms, self.gbit, self.kind, self.refusal = latency_ms, gbit, kind, refusal
        self._wire = wire

    def carried(self) -> Optional[Carried]:
        """What the process between the cards has done; None where the kernel does it.

        Raises:
            DualnetError: It has ended.
        """
        if self._wire is None or self._wire.stdin is None or self._wire.stdout is None:
            return None
        try:
            self._wire.stdin.write(b"\n")
            return Carried(**json.loads(self._wire.stdout.readline()))
        except (OSError, ValueError):
            raise DualnetError("the link: the process that carries its packets ended") from None


@contextmanager
def slow_link(latency_ms: float, gbit: float, kind: str = "auto") -> Iterator[Link]:
    """Make a link between two network namespaces for as long as the block lasts.

    Needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN), and /dev/net/tun for tun cards.

    Args:
        latency_ms: Time of a packet on its way, in each direction.
        gbit: The rate of each direction, in Gbit/s.
        kind: One of KINDS.

    Raises:
        UsageError: It cannot be made here.
    """
    made: list[End] = []
    wire = None
    try:
        for end in ENDS:
            _ip("netns", "add", end.namespace)
            made.append(end)
        queue = kernel_queue(latency_ms, gbit)
        refusal = "" if kind == "tun" else _refusal(queue)
        if refusal and kind == "kernel":
            raise UsageError(f"{refusal}; take tun cards (--link tun), or another kernel")
        if kind == "tun" or refusal:
            wire = _lay_wire(latency_ms, gbit)
        else:
            _lay_veth(queue)
        for end in ENDS:
            _settle(end)
        yield Link(latency_ms, gbit, "tun" if wire else queue[0], refusal, wire)
    finally:
        if wire is not None:
            wire.communicate()  # its input ends, and it with it
        for end in made:
            subprocess.run(["ip", "netns", "del", end.namespace], capture_output=True)


def kernel_queue(latency_ms: float, gbit: float) -> list[str]:
    """What a veth card does to packets: netem delays and limits; without a delay, tbf limits."""
    rate = ["rate", f"{gbit * 1000:g}mbit"]
    if not latency_ms:
        return ["tbf", *rate, "burst", "256kb", "latency", "100ms"]
    # What is under way must fit: the bytes of four delays, in packets of 1500 and more.
    packets = int(gbit * 1e9 / 8 * 4 * latency_ms / 1e3 / 1500) + 1000
    return ["netem", "delay", f"{latency_ms}ms", *rate, "limit", str(packets)]


def _refusal(queue: Sequence[str]) -> str:
    """Why the kernel does not take a queue; empty if it does. Tried where nothing is sent."""
    card = ["dev", "lo", "root"]
    try:
        _ip("netns", "exec", ENDS[0].namespace, "tc", "qdisc", "add", *card, *queue)
    except UsageError as error:
        return f"the kernel has no {queue[0]}: {str(error).rpartition(': ')[2].rstrip('.')}"
    _ip("netns", "exec", ENDS[0].namespace, "tc", "qdisc", "del", *card)
    return ""


def _lay_veth(queue: Sequence[str]) -> None:
    a, b = ENDS
    _ip("link", "add", a.card, "netns", a.namespace, "type", "veth",
        "peer", "name", b.card, "netns", b.namespace)  # fmt: skip
    for end in ENDS:
        _ip("netns", "exec", end.namespace, "tc", "qdisc", "add", "dev", end.card, "root", *queue)


def _lay_wire(latency_ms: float, gbit: float) -> subprocess.Popen[bytes]:
    """A tun card in each namespace, and the process between them."""
    cards: list[int] = []
    try:
        for end in ENDS:
            try:
                cards.append(open_card(end.card))
            except OSError as error:
                raise UsageError(f"/dev/net/tun: {error.strerror}; a link needs root") from error
            # A card stays with its descriptor wherever it moves.
            _ip("link", "set", end.card, "netns", end.namespace)
            _ip("-n", end.namespace, "link", "set", end.card,
                "mtu", str(MTU_BYTES), "txqueuelen", str(_CARD_PACKETS))  # fmt: skip
        spec = {"cards": cards, "latency_s": latency_ms / 1e3, "bits_per_s": gbit * 1e9}
        return subprocess.Popen(
            [sys.executable, "-m", "dualnet.bench.network.wire", json.dumps(spec)], pass_fds=cards,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            start_new_session=True,  # Ctrl-C is for the script, which ends it
        )  # fmt: skip
    finally:
        for card in cards:
            os.close(card)


def _settle(end: End) -> None:
    """Give a card its address, and TCP its settings."""
    _ip("-n", end.namespace, "addr", "add", f"{end.address}/24", "dev", end.card)
    for card in ("lo", end.card):
        _ip("-n", end.namespace, "link", "set", card, "up")
    for key, value in _SETTINGS.items():
        _ip("netns", "exec", end.namespace, "sh", "-c", f"echo {value} > /proc/sys/{key}")


def _ip(*words: str) -> None:
    """Run iproute2's command."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
    except FileNotFoundError:
        raise UsageError("a link needs the commands ip and tc; install iproute2") from None
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise UsageError(f"ip {' '.join(words)}: {said}")
