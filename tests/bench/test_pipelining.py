"""scripts/bench_pipelining.py: a tiny contest with PyTorch's pipelines."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from dualnet.backend import provider
from dualnet.bench.network.wire import Carried
from tests.bench.root import needs_root

SCRIPT = "scripts/bench_pipelining.py"

needs_engine = pytest.mark.skipif(provider != "engine", reason="needs PyTorch")


@pytest.fixture
def script(repository, workdir):
    def run(*words):
        return subprocess.run(
            [sys.executable, str(repository / SCRIPT), *words],
            capture_output=True, text=True, timeout=300, cwd=str(workdir),
            env={**os.environ, "PYTHONPATH": str(repository), "OMP_WAIT_POLICY": "PASSIVE"},
        )  # fmt: skip

    return run


@needs_engine
def test_every_contender_trains(script, workdir):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    # dualnet's side on digits, whose data is here; the plain net is always CIFAR-10's.
    done = script(
        "--config", "configs/digits.yaml", "--batch", "8", "--iterations", "1", "--warm-up", "1",
        "--rounds", "1", "--micro", "2", "--staleness", "1", "--cores-each", "1",
        "--only", "plain", "GPipe", "1F1B", "files", "torch, backprop", "-o", "peers",
        "--carriers", "files", "torch", "--targets", "gradient", "backprop",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, *records = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["cores_each"] == 1 and head["link"] is None
    names = [record["contender"] for record in records]
    assert names == [
        "plain, all", "GPipe 2", "1F1B 2", "files, 1 ahead", "files, backprop, 1 ahead",
        "torch, backprop, 1 ahead",
    ]  # fmt: skip
    assert sum(record["best_pipeline"] for record in records) == 1
    best = next(record for record in records if record["best_pipeline"])
    for record in records:
        ratio = best["iteration_ms"] / record["iteration_ms"]
        assert record["over_best_pipeline"] == pytest.approx(ratio, rel=0.01, abs=0.001)
    assert (workdir / "peers.jsonl").read_text() == done.stdout
    assert f"**{best['contender']}**" in (workdir / "peers.md").read_text()


@needs_engine
@needs_root
@pytest.mark.slow
def test_a_contest_over_a_link(script):
    done = script(
        "--config", "configs/digits.yaml", "--batch", "8", "--iterations", "1", "--warm-up", "1",
        "--rounds", "1", "--micro", "2", "--staleness", "0", "2", "--cores-each", "1",
        "--only", "1F1B", "tcp", "--link", "tun", "--latency-ms", "30", "--gbit", "0.1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, *records = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["link"]["kind"] == "tun" and head["link"]["rtt_ms"] >= 60
    names = [record["contender"] for record in records]
    assert names == ["1F1B 2", "tcp, alternating", "tcp, 2 ahead"]
    assert all(record["link_cpu_ms"] > 0 for record in records)
    # Who waits for an answer waits for a round trip in each iteration.
    assert all(record["iteration_ms"] >= 60 for record in records[:2])
    assert "a process between tun cards (as asked)" in done.stderr


@pytest.fixture
def module(repository):
    spec = importlib.util.spec_from_file_location("bench_pipelining", repository / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # The dataclass in it looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


class Wire:
    """A link whose process takes 40 ms of processor time in each turn."""

    def __init__(self):
        self.asked = 0

    def carried(self):
        self.asked += 1
        return Carried(cpu_s=0.040 * (self.asked // 2), packets=0, bytes=0)


def test_hopeless_pipelines_are_left_out_after_the_first_round(module, capsys):
    times_s = {
        "plain, all": [0.9, 0.5, 0.5], "GPipe 2": [0.50, 0.30, 0.30], "GPipe 4": [0.40, 0.60, 0.60],
        "1F1B 8": [0.51], "tcp, alternating": [1.0, 1.0, 1.0],
    }  # fmt: skip
    contenders = {
        name: module.Contender(iter(series).__next__, 8) for name, series in times_s.items()
    }
    options = type("Options", (), {"rounds": 3, "batch": 120})
    records = {r["contender"]: r for r in module.contest(options, contenders, Wire())}
    assert list(records) == list(times_s)
    assert records["1F1B 8"]["iterations_ms"] == [510.0]
    # What counts is the median of all rounds; ratios are those within a round.
    assert [name for name, r in records.items() if r["best_pipeline"]] == ["GPipe 2"]
    assert records["tcp, alternating"]["over_best_pipeline"] == 0.3
    assert records["tcp, alternating"]["samples_per_s"] == 120.0
    assert records["plain, all"]["iteration_ms"] == 500.0
    assert all(record["link_cpu_ms"] == 5.0 for record in records.values())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("round 1 of 3: plain, all: 900.0 ms; 14 turns, some ")
    assert lines[-1].endswith(" 0 turns, some 0 s left")


def test_the_link_is_described_as_it_was_measured(module):
    found = {
        "kind": "tun", "refusal": "the kernel has no netem: Unknown", "latency_ms": 10.0,
        "gbit": 1.0, "rtt_ms": 20.4, "mb_per_s": [124.9, 124.5], "mb_per_s_at_once": [121.0, 120.3],
        "cpu_share": 0.094, "doubt": "",
    }  # fmt: skip
    line = module.link_line(found)
    assert "a process between tun cards (the kernel has no netem: Unknown)" in line
    assert "round trip 20.4 ms; 124.9 MB/s up, 124.5 MB/s down; at once 121 and 120.3" in line
    assert "9.4% of a core" in line and "DOUBT" not in line
    line = module.link_line({**found, "kind": "netem", "cpu_share": None, "doubt": "too slow"})
    assert "netem in the kernel" in line and "of a core" not in line
    assert line.endswith("DOUBTFUL: too slow.")


def test_too_many_cores_are_refused(script):
    done = script("--cores-each", "9999")
    assert done.returncode == 1
    assert "9999" in done.stderr and len(done.stderr.strip().splitlines()) == 1
