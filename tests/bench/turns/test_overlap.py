"""`dualnet bench overlap`: the arithmetic on made-up turns, and a tiny real contest."""

from __future__ import annotations

import json

import pytest

from dualnet.bench.turns.overlap import OverlapRequest, summary
from dualnet.bench.turns.turn import RoleTimes, summarise
from dualnet.errors import UsageError


def role(iteration_s, wait_s, exchange_s=0.0):
    return RoleTimes(100, iteration_s, iteration_s, wait_s, exchange_s, iteration_s, 400.0)


TURNS = {
    # Busy 6 and 4 of 10 s; ahead, 7 s.
    "alternating": [{"net1": role(10.0, 4.0, 0.1), "net2": role(10.0, 6.0, 0.2)}] * 3,
    "overlapped 1 keep": [{"net1": role(7.0, 1.0), "net2": role(6.9, 3.0)}] * 3,
    "single": [{"single": role(5.0, 0.0)}] * 3,
}


def test_ratios_and_limits():
    alternating = summary(TURNS, "alternating")
    assert alternating["limit"] == round((6 + 4) / 6, 3)
    assert alternating["exchange_share"] == 0.03
    assert alternating["net1"]["wait_share"] == 0.4
    assert alternating["over_single"] == 0.5
    assert alternating["samples_per_s"] == 10.0
    ahead = summary(TURNS, "overlapped 1 keep")
    assert ahead["over_alternating"] == round(10 / 7, 3)
    assert ahead["limit_over_alternating"] == round(10 / 6, 3)
    assert ahead["net1"]["busy_ms"] == 6000
    single = summary(TURNS, "single")
    assert "over_single" not in single and "limit" not in single


def test_ratios_are_taken_within_a_round():
    slow = [{"net1": role(20.0, 8.0), "net2": role(20.0, 12.0)}]
    turns = {
        "alternating": TURNS["alternating"][:1] + slow * 2,
        "overlapped 1 keep": TURNS["overlapped 1 keep"][:1]
        + [{"net1": role(10.0, 0.0), "net2": role(9.0, 0.0)}] * 2,
    }
    assert summary(turns, "overlapped 1 keep")["over_alternating"] == 2.0


def test_rows_become_times_an_iteration():
    rows = [
        {"time_s": t, "cpu_s": 2 * t, "wait_s": 0.25 * t, "exchange_s": 0.125 * t, "bytes": 8 * t}
        for t in (3.0, 4.0, 5.0, 9.0)
    ]
    found = summarise(rows, 16)
    assert (found.iteration_s, found.median_s, found.wait_s) == (2.0, 1.0, 0.5)
    assert (found.busy_s, found.exchange_s, found.cpu_s, found.sent_bytes) == (1.5, 0.25, 4.0, 16)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(UsageError, match=r"--staleness 0"):
        OverlapRequest("c.yaml", staleness=[0])
    with pytest.raises(UsageError, match=r"--cores-each 9999.*need 19998 cores"):
        OverlapRequest("c.yaml", cores_each=9999).places()


def test_a_tiny_contest(dualnet):
    done = dualnet(
        "bench", "overlap", "configs/digits.yaml", "--set", "train.batch_size=8", "--iterations",
        "2", "--warm-up", "1", "--rounds", "1", "--staleness", "1", "--activations", "recompute",
        "--cut", "pool1:conv2",
    )  # fmt: skip
    if "need 2 cores" in done.stderr:
        pytest.skip("one core")
    assert done.returncode == 0, done.stderr
    head, *records = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["cores_each"] >= 1
    assert [record["contender"] for record in records] == [
        "alternating", "overlapped 1 recompute", "single"
    ]  # fmt: skip
    alternating, ahead, single = records
    assert {record["cut"] for record in records} == {"pool1"}
    assert alternating["batch"] == ahead["batch"] == single["batch"] == 8
    assert alternating["net1"]["sent_bytes"] == 4 * 8 * (16 * 4 * 4 + 1)  # pool1 and labels
    assert 0 < alternating["net1"]["wait_share"] < 1
    assert 1 < alternating["limit"] <= 2
    assert ahead["over_alternating"] > 0 and ahead["over_single"] > 0
    assert "pool1 round 1: single" in done.stderr


def test_a_half_that_fails_is_named(dualnet):
    done = dualnet(
        "bench", "overlap", "configs/digits.yaml", "--set", "train.batch_size=8", "--set",
        "net2.learning_rate=1e30", "--iterations", "3", "--rounds", "1",
    )  # fmt: skip
    if "need 2 cores" in done.stderr:
        pytest.skip("one core")
    assert done.returncode == 1
    assert "net2" in done.stderr and "loss is nan" in done.stderr.replace("inf", "nan")
