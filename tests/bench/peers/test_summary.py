"""Raw lines: their medians and ratios by hand, and the page."""

from __future__ import annotations

import pytest

from dualnet.bench.peers.summary import link_line, page, settings_of, summary

FACTS = {
    "bench": "chain", "run": "r", "command": "scripts/bench_pipelining.py -o chain",
    "commit": "abc", "machine": "M", "cores": 2, "python": "3.11", "torch": "2.13", "numpy": "2",
    "batch": 120, "iterations": 5, "warm_up": 1, "link": None, "quota_by": None, "pieces": 2,
    "cut": "pool1:conv2", "quota": None, "threads": 1, "threads_whole": 2, "cores_each": 1,
    "cores_shared": False, "date": "2026-01-02T03:04:05+00:00", "load": 0.5,
}  # fmt: skip
TIMES_MS = {
    "plain": [80, 90, 100], "1F1B 4": [100, 200, 300], "1F1B 8": [90], "GPipe 2": [150, 150, 150],
    "tcp, backprop, pipelined 4": [50, 160, 300], "tcp, backprop, overlapped 1": [50, 50, 50],
    "tcp, backprop, overlapped 2": [40, 40, 40],
}  # fmt: skip


def lines_of(**facts):
    return [
        {**FACTS, **facts, "contender": name, "round": number + 1, "iteration_ms": time_ms,
         "cpu_ms": [10.0, 20.0]}
        for name, times_ms in TIMES_MS.items()
        for number, time_ms in enumerate(times_ms)
    ]  # fmt: skip


def test_medians_and_ratios_within_a_round():
    found = {record["contender"]: record for record in summary(lines_of())}
    assert found["plain"]["iteration_ms"] == 90 and found["plain"]["rounds"] == 3
    assert found["plain"]["samples_per_s"] == pytest.approx(1333.3)
    pipelined = found["tcp, backprop, pipelined 4"]
    # 100 / 50, 200 / 160, 300 / 300; 1F1B 8 was left out, so 1F1B 4 is the best.
    assert pipelined["over_1f1b"] == 1.25
    assert pipelined["over_gpipe"] == 0.938
    assert pipelined["cpu_ms"] == 30.0
    assert "over_single" not in pipelined
    assert found["1F1B 8"]["over_1f1b"] == 1.111


def test_the_best_number_of_micro_batches_is_marked():
    best = [record["contender"] for record in summary(lines_of()) if record["best"]]
    assert best == [
        "plain", "1F1B 4", "GPipe 2", "tcp, backprop, pipelined 4", "tcp, backprop, overlapped 1",
        "tcp, backprop, overlapped 2",
    ]  # fmt: skip


def test_settings_are_kept_apart():
    lines = [*lines_of(), *lines_of(quota=0.4), *lines_of(run="later")]
    assert [len(one) for one in settings_of(lines)] == [len(lines) / 3] * 3


def test_the_page():
    link = {
        "kind": "tun", "refusal": "the kernel has no netem: Unknown", "latency_ms": 10.0,
        "gbit": 1.0, "rtt_ms": 20.4, "mb_per_s": [124.9, 124.5], "mb_per_s_at_once": [121.0, 120.3],
        "cpu_share": 0.094, "doubt": "",
    }  # fmt: skip
    lines = [
        *lines_of(), *lines_of(quota=0.4, pieces=3, quota_by="cgroup v1 x"),
        *lines_of(link=link, run="l"),
    ]  # fmt: skip
    text = page(lines, "chain.jsonl", "chain.png")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## 2 pieces, 1 core each", "## 3 pieces, a quota of 0.4 cores each",
        "## 2 pieces, 1 core each, 10 ms and 1 Gbit/s",
    ]  # fmt: skip
    assert text.count("scripts/bench_pipelining.py -o chain\n") == 1
    assert "Quotas by cgroup v1 x, from the second iteration on" in text
    assert "| tcp, backprop, pipelined | 1.25 | 1.25 | 1.25 |" in text
    assert "| **1F1B 4** | 200.0 ms | 600 | 30 ms | 1.0 | " in text
    assert "| tcp, backprop, overlapped 1 | 50.0 ms |" in text


def test_the_link_is_described_as_it_was_measured():
    found = {
        "kind": "tun", "refusal": "the kernel has no netem: Unknown", "latency_ms": 10.0,
        "gbit": 1.0, "rtt_ms": 20.4, "mb_per_s": [124.9, 124.5], "mb_per_s_at_once": [121.0, 120.3],
        "cpu_share": 0.094, "doubt": "",
    }  # fmt: skip
    line = link_line(found)
    assert "a process between tun cards (the kernel has no netem: Unknown)" in line
    assert "round trip 20.4 ms; 124.9 MB/s up, 124.5 MB/s down; at once 121 and 120.3" in line
    assert "9.4% of a core" in line and "DOUBT" not in line
    line = link_line({**found, "kind": "netem", "cpu_share": None, "doubt": "too slow"})
    assert "netem in the kernel" in line and "of a core" not in line
    assert line.endswith("DOUBTFUL: too slow.")
