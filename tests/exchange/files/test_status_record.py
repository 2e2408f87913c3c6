"""Status records and layouts: they fit, and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualnet.errors import UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.disk.records import BadRecord, seal
from dualnet.exchange.files.layout import LayoutBook, MessageLayout, seal_layout, unseal_layout
from dualnet.exchange.files.status_record import RECORD_LIMIT, StatusRecord
from dualnet.exchange.link import Link

KEY = bytes(range(32))
RUN = "ab" * 16
LINK = Link("net1", "net2")
STATUS = LINK.kind("status")
COUNT = st.integers(0, 10**12 - 1)


@given(COUNT, COUNT, COUNT, st.booleans())
def test_record_round_trip(base: int, seq: int, received: int, hello: bool) -> None:
    record = StatusRecord(LINK, RUN, "net1", 3, base=base, seq=seq, received=received, hello=hello)
    assert StatusRecord.unseal(KEY, LINK, record.seal(KEY)) == record


def test_the_largest_record_fits() -> None:
    most = 10**12 - 1
    record = StatusRecord(
        link=LINK,
        run=RUN,
        piece="net1",
        epoch=999_999,
        base=most,
        seq=most,
        kind="x" * 32,
        iteration=most,
        digest="f" * 64,
        layouts=999_999,
        received=most,
        hello=False,
        want=most,
        resent_seq=most,
        resent_attempt=9_999,
        checkpoint=most,
        checkpointed_sent=most,
        checkpointed_received=most,
    )
    assert len(record.seal(KEY)) <= RECORD_LIMIT


def test_sealed_records_of_another_shape_are_refused() -> None:
    with pytest.raises(BadRecord):
        StatusRecord.unseal(KEY, LINK, seal(KEY, STATUS, {"surprise": 1}, RECORD_LIMIT))
    with pytest.raises(BadRecord):
        StatusRecord.unseal(KEY, LINK, seal(KEY, STATUS, {}, RECORD_LIMIT))


def test_a_record_of_another_link_is_refused() -> None:
    """net2 has a record of the same epoch in each of two folders."""
    record = StatusRecord(Link("net2", "net3"), RUN, "net2", 1)
    with pytest.raises(BadRecord, match="HMAC"):
        StatusRecord.unseal(KEY, LINK, record.seal(KEY))


def layout(kind: str, *shape: int) -> MessageLayout:
    return MessageLayout.of(Message(kind, 0, {"x": np.zeros(shape, np.float32)}))


def test_layout_round_trip() -> None:
    written = MessageLayout.of(
        Message("train", 0, {"pool2": np.zeros((4, 3, 2, 2), np.float32), "b/c.d": np.zeros(())})
    )
    data = seal_layout(KEY, LINK, RUN, "net1", 2, 17, written)
    assert unseal_layout(KEY, LINK, RUN, "net1", 2, data) == (17, written)
    for other in [(RUN[::-1], "net1", 2), (RUN, "net2", 2), (RUN, "net1", 3)]:
        with pytest.raises(BadRecord, match="another"):
            unseal_layout(KEY, LINK, *other, data)


@pytest.mark.parametrize(
    "arrays", [[["x", "|O8", [1]]], [["x", "<f4", [-1]]], [["x", "<f4"]], 3, [["x", "<f4", ["1"]]]]
)
def test_layouts_that_make_no_sense(arrays: object) -> None:
    fields = {"run": RUN, "piece": "net1", "epoch": 1, "seq": 1, "kind": "train", "arrays": arrays}
    with pytest.raises(BadRecord):
        unseal_layout(KEY, LINK, RUN, "net1", 1, seal(KEY, LINK.kind("layout"), fields, 10_000))


def test_too_many_arrays() -> None:
    many = {f"array {number}": np.zeros(1) for number in range(300)}
    with pytest.raises(UsageError, match="300"):
        MessageLayout.of(Message("train", 0, many))


def test_the_layout_of_a_message_is_the_last_announced_before_it() -> None:
    book = LayoutBook()
    book.add(1, layout("train", 2))
    book.add(3, layout("test", 5))
    book.add(4, layout("train", 3))
    assert book.find(1, "train") == book.find(3, "train") == layout("train", 2)
    assert book.find(4, "train") == book.find(99, "train") == layout("train", 3)
    assert book.find(2, "test") is None
    assert book.find(3, "test") == layout("test", 5)
    assert book.is_current(layout("train", 3)) and not book.is_current(layout("train", 2))
    assert book.next_number == 4


def test_layouts_go_that_no_later_message_has() -> None:
    book = LayoutBook()
    for seq, (kind, size) in enumerate([("up", 2), ("test", 5), ("up", 3), ("up", 4)], 1):
        book.add(seq, layout(kind, size))
    assert book.forget_through(1) == [] and book.forget_through(2) == [1]
    assert book.find(2, "test") == layout("test", 5) and book.find(3, "up") == layout("up", 3)
    assert book.forget_through(9) == [3]
    assert book.find(10, "up") == layout("up", 4) and book.is_current(layout("up", 4))
    assert book.next_number == 5
