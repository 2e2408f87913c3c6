"""`dualnet bench exchange`: every variant is measured, and wrong numbers are refused."""

from __future__ import annotations

from typing import Any

import pytest

from dualnet.bench.exchange import bench_exchange
from dualnet.errors import ConfigError, UsageError


def test_each_digest_takes_part() -> None:
    pytest.importorskip("blake3")
    records = bench_exchange(["files"], [1], 1, 0.01, digests=["sha256", "blake3"])
    assert {"files", "files blake3"} <= {record["exchange"] for record in records}


def test_every_variant_has_a_record_for_each_size() -> None:
    records = list(bench_exchange(["files", "tcp"], [1, 2], rounds=1, seconds=0.01))
    found = {(record["exchange"], record["size_mb"]) for record in records}
    for name in ("copy", "bare socket", "bare files", "files", "tcp"):
        assert {(name, 1), (name, 2)} <= found
    for record in records:
        assert 0 < record["best_ms"] <= record["median_ms"] and record["messages"] >= 3
        assert record["times_copy"] == 1 or record["exchange"] != "copy"


@pytest.mark.parametrize(
    "change", [{"carriers": ["pigeon"]}, {"sizes_mb": [0]}, {"rounds": 0}, {"seconds": 0}]
)
def test_what_makes_no_sense(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        next(bench_exchange(**change))


def test_a_digest_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="md5"):
        next(bench_exchange(digests=["md5"]))
