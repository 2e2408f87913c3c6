"""`dualnet bench` as its users meet it."""

from __future__ import annotations

import json

import pytest

from dualnet.backend import provider

needs_engine = pytest.mark.skipif(provider != "engine", reason="needs the engine's PyTorch")


def test_help_names_the_options(dualnet):
    done = dualnet("bench", "engine", "--help")
    assert done.returncode == 0
    for option in ("--net", "--threads", "--repeats", "--seconds", "--layers"):
        assert option in done.stdout
    assert "DUALNET_BVLC_PYTHON" in done.stdout
    assert "engine" in dualnet("bench", "--help").stdout


def test_numbers_out_of_range_are_refused(dualnet):
    done = dualnet("bench", "engine", "--repeats", "0")
    assert done.returncode == 2
    assert "--repeats 0" in done.stderr and "1 or more" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@needs_engine
def test_prints_json_lines(dualnet):
    done = dualnet(
        "bench", "engine", "--net", "cifar10", "--threads", "1", "--repeats", "1",
        "--seconds", "0.01", env={"DUALNET_BVLC_PYTHON": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    machine, *others = [json.loads(line) for line in done.stdout.splitlines()]
    assert machine["cores"] >= 1 and len(machine["load"]) == 3
    assert "DUALNET_BVLC_PYTHON" in machine["left_out"]
    assert [record["contender"] for record in others] == [
        "engine", "plain", "plain_tuned", "ratios"
    ]  # fmt: skip
    assert others[0]["batch"] == 256
