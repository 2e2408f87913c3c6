"""scripts/bench_pipelining.py: a tiny comparison with PyTorch's pipelines."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from dualnet.backend import provider
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


@pytest.fixture
def module(repository, workdir, monkeypatch):
    """The script, loaded as a module."""
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # which it adds to
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("bench_pipelining", repository / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_engine
def test_three_pieces_and_three_stages_train(script, workdir):
    done = script(
        "--short", "--batch", "16", "--pieces", "3", "--quota", "0.6", "-o", "chain",
        "--only", "plain", "1F1B", "tcp, backprop, pipelined",
    )  # fmt: skip
    if len(os.sched_getaffinity(0)) < 2:
        assert "--quota 0.6: 3 pieces may use up to 1.8 cores" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = [line["contender"] for line in lines]
    assert names == ["plain", "1F1B 4", "tcp, backprop, pipelined 4"]
    assert [len(line["cpu_ms"]) for line in lines] == [1, 3, 3]
    assert all(line["pieces"] == 3 and line["iteration_ms"] > 0 for line in lines)
    # Where the kernel grants no quota, one line says so, and nobody claims one.
    refused = done.stderr.startswith("no quotas here: ")
    assert all((line["quota"], line["quota_by"] is None) == (None if refused else 0.6, refused)
               for line in lines)  # fmt: skip
    assert done.stderr.splitlines()[-1].endswith("some 0 s left")
    assert (workdir / "chain.jsonl").read_text() == done.stdout
    assert "| **1F1B 4** |" in (workdir / "chain.md").read_text()
    assert (workdir / "chain.png").stat().st_size > 0


@needs_engine
@needs_root
@pytest.mark.slow
def test_a_comparison_over_a_link(script):
    done = script(
        "--batch", "8", "--iterations", "1", "--warm-up", "1", "--rounds", "1", "--micro", "2",
        "--staleness", "2", "--cores-each", "1", "--only", "1F1B", "tcp, gradient, alternating",
        "tcp, gradient, overlapped", "--link", "tun", "--latency-ms", "30", "--gbit", "0.1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["link"]["kind"] == "tun" and lines[0]["link"]["rtt_ms"] >= 60
    names = [line["contender"] for line in lines]
    assert names == ["1F1B 2", "tcp, gradient, alternating", "tcp, gradient, overlapped 2"]
    assert all(line["link_cpu_ms"] > 0 for line in lines)
    # Who waits for an answer waits for a round trip in each iteration.
    assert all(line["iteration_ms"] >= 60 for line in lines[:2])
    assert "a process between tun cards (as asked)" in done.stderr


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--cores-each", "9999"], 1, "9999"),
        (["--only", "nobody"], 1, "--only nobody: no method's name begins so"),
        (["--pieces", "9"], 2, "--pieces"),
        (["--page"], 2, "-o NAME"),
        (["--micro", "1"], 2, "--micro 2 or more"),
        (["--page", "-o", "absent"], 1, "absent.jsonl"),
    ],
)
def test_what_cannot_be_measured_is_refused(module, monkeypatch, capsys, words, code, said):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *words])
    with pytest.raises(SystemExit) as raised:
        module.main()
    if code == 1:  # what Python makes of a text
        assert said in raised.value.code and "\n" not in raised.value.code
    else:
        assert raised.value.code == code
        assert said in capsys.readouterr().err.splitlines()[-1]
