"""What timed runs say of each other: arithmetic on made-up times."""

from __future__ import annotations

from dualnet.bench.schedules.summary import Variant, summary
from dualnet.bench.schedules.timed_run import PieceTimes, summarise


def piece(iteration_s, wait_s, exchange_s=0.0):
    return PieceTimes(100, iteration_s, iteration_s, wait_s, exchange_s, iteration_s, 400.0)


ALTERNATING = Variant("alternating")
AHEAD = Variant("overlapped 1 keep", is_overlapped=True)
PIPELINED = Variant("pipelined 4", parts=4)
SINGLE = Variant("single")
TIMED = {
    # Busy 6 and 4 of 10 s; ahead, 7 s.
    "alternating": [{"net1": piece(10.0, 4.0, 0.1), "net2": piece(10.0, 6.0, 0.2)}] * 3,
    "overlapped 1 keep": [{"net1": piece(7.0, 1.0), "net2": piece(6.9, 3.0)}] * 3,
    "single": [{"single": piece(5.0, 0.0)}] * 3,
}


def test_ratios_and_limits():
    alternating = summary(TIMED, ALTERNATING)
    assert alternating["limit"] == round((6 + 4) / 6, 3)
    assert alternating["exchange_share"] == 0.03
    assert alternating["net1"]["wait_share"] == 0.4
    assert alternating["over_single"] == 0.5
    assert alternating["samples_per_s"] == 10.0
    ahead = summary(TIMED, AHEAD)
    assert ahead["over_alternating"] == round(10 / 7, 3)
    assert ahead["limit_over_alternating"] == round(10 / 6, 3)
    assert ahead["net1"]["busy_ms"] == 6000
    single = summary(TIMED, SINGLE)
    assert "over_single" not in single and "limit" not in single


def test_a_pipeline_of_three_is_bounded_by_its_slowest_piece():
    """Busy 6, 4 and 2 s: 12 in turns; in 4 parts (12 + 3 * 6) / 4 = 7.5."""
    in_turns = {"net1": piece(12.0, 6.0), "net2": piece(12.0, 8.0), "net3": piece(12.0, 10.0)}
    parts = {"net1": piece(8.0, 2.0), "net2": piece(8.0, 4.0), "net3": piece(8.0, 6.0)}
    timed = {"alternating": [in_turns], "pipelined 4": [parts]}
    found = summary(timed, PIPELINED)
    assert found["limit"] == 2.0 and found["over_alternating"] == 1.5
    assert found["limit_over_alternating"] == 1.6
    shared = summary(timed, PIPELINED, shared=True)
    assert "limit" not in shared and "limit_over_alternating" not in shared
    assert shared["over_alternating"] == 1.5 and "over_single" not in shared


def test_ratios_are_taken_within_a_round():
    slow = [{"net1": piece(20.0, 8.0), "net2": piece(20.0, 12.0)}]
    timed = {
        "alternating": TIMED["alternating"][:1] + slow * 2,
        "overlapped 1 keep": TIMED["overlapped 1 keep"][:1]
        + [{"net1": piece(10.0, 0.0), "net2": piece(9.0, 0.0)}] * 2,
    }
    assert summary(timed, AHEAD)["over_alternating"] == 2.0


def test_rows_become_times_an_iteration():
    rows = [
        {"time_s": t, "cpu_s": 2 * t, "wait_s": 0.25 * t, "exchange_s": 0.125 * t, "bytes": 8 * t}
        for t in (3.0, 4.0, 5.0, 9.0)
    ]
    found = summarise(rows, 16)
    assert (found.iteration_s, found.median_s, found.wait_s) == (2.0, 1.0, 0.5)
    assert (found.busy_s, found.exchange_s, found.cpu_s, found.sent_bytes) == (1.5, 0.25, 4.0, 16)
