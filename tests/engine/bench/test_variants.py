"""Variants in their processes: records, ratios, errors. Nothing here depends on a duration."""

from __future__ import annotations

import os
import sys

import pytest

from dualnet.engine.bench.nets import Case, case
from dualnet.engine.bench.variants import BenchError, Variant, ratios, time_variants
from dualnet.engine.errors import UnknownNameError

SMALL = Case("cifar10", 8, (3, 32, 32), 10)
LAYERS = {"conv1 forward", "pool4 backward", "ip2 forward", "loss backward", "update"}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch, repository):
    monkeypatch.chdir(repository)


def test_records_of_the_variants():
    records = list(time_variants(SMALL, None, threads=1, repeats=2, seconds=0.01, layer_steps=1))
    compared = records[3]
    for record, name in zip(records, ("engine", "plain", "plain_tuned")):
        assert record["contender"] == name and record["net"] == "cifar10"
        assert record["batch"] == 8 and record["threads"] == 1
        assert record["version"].startswith("PyTorch ")
        assert record["steps"] >= 2 and record["step_ms"] > 0 and record["cpu_ms"] > 0
        assert record["quartiles_ms"][0] <= record["step_ms"] <= record["quartiles_ms"][1]
        assert record["peak_mib"] > 50
    assert set(compared) == {
        "net", "contender", "engine_time_over_plain", "engine_memory_over_plain",
        "engine_time_over_plain_tuned", "engine_memory_over_plain_tuned",
    }  # fmt: skip
    both = {r["layer"] for r in records[4:] if "engine_ms" in r and "plain_tuned_ms" in r}
    assert both >= LAYERS


@pytest.mark.bvlc
def test_bvlc_caffe_takes_part(bvlc_python):
    records = list(time_variants(SMALL, bvlc_python, threads=1, repeats=1, seconds=0.01))
    by_name = {record["contender"]: record for record in records}
    assert by_name["bvlc"]["version"] == "Caffe 1.0.0"
    assert by_name["ratios"]["bvlc_time_over_engine"] > 0


def test_ratios_are_medians_over_rounds():
    rounds_s = {
        "engine": [[1.0, 3.0], [20.0, 20.0], [3.0]],
        "plain": [[1.0], [10.0], [3.0]],
        "plain_tuned": [[4.0], [10.0], [3.0]],
        "bvlc": [[8.0], [80.0], [12.0]],
    }
    peaks = {"engine": 110.0, "plain": 100.0, "plain_tuned": 220.0}
    records = {name: {"peak_mib": peak} for name, peak in peaks.items()}
    assert ratios(rounds_s, records) == {
        "contender": "ratios",
        "engine_time_over_plain": 2.0,
        "engine_memory_over_plain": 1.1,
        "engine_time_over_plain_tuned": 1.0,
        "engine_memory_over_plain_tuned": 0.5,
        "bvlc_time_over_engine": 4.0,
    }


def test_a_variant_that_fails_names_the_cause(tmp_path):
    with pytest.raises(BenchError) as caught:
        Variant("engine", sys.executable, SMALL, "missing.prototxt", 1, str(tmp_path))
    assert "'engine' ended with exit code 1" in str(caught.value)
    assert "missing.prototxt" in str(caught.value)


def test_an_unknown_net_names_those_that_exist():
    with pytest.raises(UnknownNameError, match="'cifar10', 'caffenet'"):
        case("resnet")


def test_the_shipped_net_must_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"single_train_test\.prototxt.*working directory"):
        list(time_variants(SMALL, None, 1, 1, 0.01))
    assert os.listdir(tmp_path) == []
