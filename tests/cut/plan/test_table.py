"""Plans for people."""

from __future__ import annotations

from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.table import to_text
from tests.cut.plan.planning import planned


def rows_of(text, head):
    """The lines of the table whose head begins with a word."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.strip().startswith(head))
    rows = []
    for line in lines:
        if not line:
            return rows
        rows.append(line)


def test_cuts_in_two(small):
    text = to_text(small)
    lines = text.splitlines()
    assert lines[0] == "small in 2 pieces: batches of 4, CPU, 1 thread a piece"
    rows = rows_of(text, "cut at")
    assert [row.strip("* ").split()[0] for row in rows] == ["ip1", "ip2", "ip3", "sum", "(single)"]
    assert any(" ip3 (+1)  sum+ip4  " in row for row in rows)
    assert sum(row.startswith("*") for row in rows) == (small.best is not None)
    assert ("1 compute at a time" in text) == (small.request.processors == 1)
    assert "  ip4    no layer that learns stands between it and the loss" in lines
    assert max(map(len, lines)) < 170


def test_every_schedule_has_its_best_chain():
    found = planned(pieces=3, schedule="overlapped")
    text = to_text(found)
    rows = rows_of(text, "schedule")
    assert [row.strip("* ").split(",")[0].split()[0] for row in rows] == [
        "alternating", "overlapped", "pipelined", "(single)"
    ]  # fmt: skip
    assert [row.startswith("*") for row in rows] == [False, True, False, False]
    outcome = found.best.outcomes["overlapped"]
    share = f"{outcome.bound_s / outcome.seconds:.0%}"
    assert rows[1].endswith(f"net{outcome.busiest + 1}: {1e3 * outcome.bound_s:.0f} ms, {share}")
    assert "1 at a time: " in to_text(planned(processors=1))
    pieces = rows_of(text, "piece")
    assert [row.split()[0] for row in pieces] == ["net1", "net2", "net3"]
    cuts = found.best.cuts
    words = " ".join(f"--at {cut.at} --dual {' '.join(cut.dual)}" for cut in cuts)
    assert f"  dualnet split net.prototxt {words} -o DIR" in text
    assert f"Recommended (overlapped): {', '.join(cut.at for cut in cuts)}: the fastest" in text
    assert "\nAlternating: " in text and "\nPipelined: " in text


def test_a_plan_without_a_chain_says_so():
    text = to_text(planned(pieces=6))
    assert "No recommendation (alternating): the net cannot be cut into 6 pieces." in text
    assert "dualnet split" not in text


def test_a_rate_that_nothing_shows_is_no_number(small):
    small.measured.costs.carrier = Carrier([4096, 1 << 22], [1e-3, 1e-3], [5e-4, 5e-4])
    text = " ".join(to_text(small).split())
    assert "1.0 ms a message and a rate that is too high to show in messages of 4.19 MB" in text


def test_a_network_that_was_not_measured_is_named():
    text = " ".join(to_text(planned(latency_s=0.01, bytes_per_s=125e6)).split())
    assert ", and a network of 10.0 ms and 125 MB/s besides." in text
