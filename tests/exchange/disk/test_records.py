"""Sealed records: what is sealed comes back, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualnet.exchange.disk.records import BadRecord, seal, unseal

KEY = bytes(range(32))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_round_trip(fields: dict) -> None:
    assert unseal(KEY, "kind", seal(KEY, "kind", fields, 100_000), 100_000) == fields


def test_padding_is_ignored() -> None:
    data = seal(KEY, "heartbeat", {"a": 1}, 200).ljust(200)
    assert unseal(KEY, "heartbeat", data, 200) == {"a": 1}


def test_every_flipped_bit_is_noticed() -> None:
    data = seal(KEY, "kind", {"seq": 12, "st": "train"}, 512)
    for position in range(8 * (len(data) - 1)):  # the newline means nothing
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(BadRecord):
            unseal(KEY, "kind", bytes(damaged), 512)


def test_every_truncation_is_noticed() -> None:
    data = seal(KEY, "kind", {"seq": 12, "st": "train"}, 512)
    for length in range(len(data) - 1):
        with pytest.raises(BadRecord):
            unseal(KEY, "kind", data[:length], 512)


def test_other_key_or_kind_is_refused() -> None:
    data = seal(KEY, "kind", {"seq": 1}, 512)
    with pytest.raises(BadRecord, match="HMAC"):
        unseal(bytes(32), "kind", data, 512)
    with pytest.raises(BadRecord, match="HMAC"):
        unseal(KEY, "heartbeat", data, 512)


def test_lengths_are_bounded() -> None:
    with pytest.raises(ValueError, match="512"):
        seal(KEY, "kind", {"text": "x" * 600}, 512)
    with pytest.raises(BadRecord, match="512"):
        unseal(KEY, "kind", b"x" * 513, 512)


def test_unsealed_json_is_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"parsed {text!r}")

    monkeypatch.setattr("dualnet.exchange.disk.records.json.loads", refuse)
    with pytest.raises(BadRecord):
        unseal(KEY, "kind", b"0" * 64 + b' {"seq":1}', 512)
