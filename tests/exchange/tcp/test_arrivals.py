"""What has come, until it is taken and proved."""

from __future__ import annotations

import numpy as np

from dualnet.exchange.channel import Message
from dualnet.exchange.tcp.arrivals import Arrival, Arrivals


def arrival(seq: int) -> Arrival:
    """A message of 4 * `seq` bytes."""
    return Arrival(Message("up", seq, {"x": np.zeros(seq, np.float32)}), f"digest {seq}", 1.0, 2.0)


def test_bytes_are_counted_until_they_are_taken() -> None:
    arrivals = Arrivals()
    for seq in (1, 2, 3):
        arrivals.add(seq, arrival(seq))
    assert arrivals.nbytes == 24
    found = arrivals.peek(2)
    assert found is not None and found.message.iteration == 2
    arrivals.take(2)
    assert arrivals.peek(2) is None and arrivals.nbytes == 16
    arrivals.take(2)
    assert arrivals.nbytes == 16, "nothing is given back twice"


def test_bad_copies_are_timed_from_the_first_since_a_good_one() -> None:
    arrivals = Arrivals()
    assert [arrivals.note_corrupt(now_s) for now_s in (5.0, 6.0, 9.0)] == [0.0, 1.0, 4.0]
    arrivals.add(1, arrival(1))
    assert [arrivals.note_corrupt(now_s) for now_s in (100.0, 102.0)] == [0.0, 2.0]
    assert arrivals.corrupt == 5


def test_a_digest_outlives_its_message() -> None:
    arrivals = Arrivals()
    for seq in (1, 2, 3):
        arrivals.add(seq, arrival(seq))
        arrivals.take(seq)
    assert arrivals.judge(2, "digest 2") == "same"
    assert arrivals.judge(2, "digest 3") == "different"
    arrivals.forget(2)
    verdicts = [arrivals.judge(seq, f"digest {seq}") for seq in (1, 2, 3, 4)]
    assert verdicts == ["unknown", "unknown", "same", "unknown"]
