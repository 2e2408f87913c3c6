"""scripts/bench_pipelining.py: a tiny contest with PyTorch's pipelines."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from dualnet.backend import provider

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
        "--only", "plain", "GPipe", "1F1B", "files", "-o", "peers",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, *records = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["cores_each"] == 1 and head["link"] is None
    names = [record["contender"] for record in records]
    assert names == ["plain, all", "GPipe 2", "1F1B 2", "files, 1 ahead"]
    assert sum(record["best_pipeline"] for record in records) == 1
    best = next(record for record in records if record["best_pipeline"])
    for record in records:
        ratio = best["iteration_ms"] / record["iteration_ms"]
        assert record["over_best_pipeline"] == pytest.approx(ratio, rel=0.01, abs=0.001)
    assert (workdir / "peers.jsonl").read_text() == done.stdout
    assert f"**{best['contender']}**" in (workdir / "peers.md").read_text()


def test_the_queue_holds_what_is_under_way(repository):
    spec = importlib.util.spec_from_file_location("bench_pipelining", repository / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = type("Options", (), {"latency_ms": 10.0, "gbit": 1.0})
    words = module.queue(options)
    assert words[:5] == ["netem", "delay", "10.0ms", "rate", "1000mbit"]
    assert int(words[-1]) * 1500 > 2 * 1e9 / 8 * 0.010
    options.latency_ms = 0.0
    assert module.queue(options)[0] == "tbf"


def test_too_many_cores_are_refused(script):
    done = script("--cores-each", "9999")
    assert done.returncode == 1
    assert "9999" in done.stderr and len(done.stderr.strip().splitlines()) == 1
