"""Messages are taken in in order and once; what was there before must be the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dualnet.errors import DamagedMessage, DeterminismViolated
from dualnet.exchange.channel import Message
from dualnet.exchange.tcp.arrivals import Arrival
from dualnet.exchange.tcp.connection import ConnectionLost, CorruptMessage
from dualnet.exchange.tcp.incoming import Incoming
from dualnet.exchange.tcp.neighbour import PeerStatus


def arrival(digest):
    return Arrival(Message("up", 0, {"x": np.zeros(4, np.float32)}), digest, 0.0, 0.0)


@pytest.fixture
def incoming():
    """Of a piece that continues after message 3; what it answers is in `replies`."""
    replies = []
    sender = SimpleNamespace(proved=0, reply=replies.append, acknowledge=lambda: None)
    neighbour = SimpleNamespace(piece="net1", status=PeerStatus())
    settings = SimpleNamespace(retain=2, resend_timeout_s=10.0)
    made = Incoming(PeerStatus(arrived=3, received=3), neighbour, sender, settings)
    made.replies, made.sender = replies, sender
    return made


def test_messages_come_in_order_and_are_taken_once(incoming):
    for seq in (4, 5):
        incoming.put(seq, arrival(f"{seq}"))
    with pytest.raises(ConnectionLost, match="message 7 where 6 was due"):
        incoming.put(7, arrival("7"))
    assert incoming.status.arrived == 5
    assert incoming.arrivals.nbytes == 32
    incoming.take(4)
    assert incoming.peek(4) is None and incoming.peek(5).digest == "5"
    assert (incoming.status.received, incoming.arrivals.nbytes) == (4, 16)


def test_nothing_comes_before_it_is_known_where_to_continue(incoming):
    incoming.status.arrived = -1
    with pytest.raises(ConnectionLost):
        incoming.put(0, arrival("0"))


def test_what_comes_again_must_be_the_same(incoming):
    incoming.put(4, arrival("four"))
    incoming.put(4, arrival("four"))
    assert incoming.replies == [] and incoming.arrivals.nbytes == 16
    incoming.put(4, arrival("other"))
    assert incoming.replies == [{"type": "verdict", "seq": 4, "is": "different"}]
    for digest in ("four", "other"):
        incoming.judge(4, digest)
    incoming.judge(2, "two")
    verdicts = [reply["is"] for reply in incoming.replies[1:]]
    assert verdicts == ["same", "different", "unknown"]


def test_proofs_are_kept_as_long_as_a_restart_may_ask_for_them(incoming):
    for seq in (4, 5, 6):
        incoming.put(seq, arrival(f"{seq}"))
    incoming._neighbour.status.checkpointed_sent = 5
    incoming.put(7, arrival("7"))
    for seq in (4, 5, 6, 7):
        incoming.judge(seq, f"{seq}")
    assert [reply["is"] for reply in incoming.replies] == ["unknown", "unknown", "same", "same"]


def test_verdicts_on_what_was_sent_again(incoming):
    incoming.accept(2, "same")
    incoming.accept(3, "unknown")
    assert incoming.verified == {2} and incoming.sender.proved == 3 and incoming.fatal is None
    incoming.accept(4, "different")
    assert isinstance(incoming.fatal, DeterminismViolated)
    incoming.fail(DamagedMessage("another one"))
    assert isinstance(incoming.fatal, DeterminismViolated)


def test_damage_is_borne_for_a_while_and_forgotten_with_a_good_copy(incoming, monkeypatch):
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(
        "dualnet.exchange.tcp.incoming.time", SimpleNamespace(monotonic=lambda: now.s)
    )
    for now.s in (100.0, 109.0):
        incoming.request_resend(CorruptMessage("digest"))
    incoming.put(4, arrival("4"))
    for now.s in (112.0, 121.0):
        incoming.request_resend(CorruptMessage("digest"))
    assert incoming.fatal is None and incoming.arrivals.corrupt == 4
    now.s = 123.0
    incoming.request_resend(CorruptMessage("digest"))
    assert isinstance(incoming.fatal, DamagedMessage)
    assert "message 5 of net1: damaged even when resent for 11 s" in str(incoming.fatal)
