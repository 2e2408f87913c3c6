"""`dualnet bench overlap`: what is compared, on which cores, and a tiny real comparison."""

from __future__ import annotations

import json

import pytest

from dualnet.bench.cuts import Case
from dualnet.bench.schedules.overlap import OverlapRequest, variants
from dualnet.errors import UsageError


def test_numbers_out_of_range_are_refused():
    with pytest.raises(UsageError, match=r"--staleness 0"):
        OverlapRequest("c.yaml", staleness=[0])
    with pytest.raises(UsageError, match=r"--micro-batches 2 0: each must be 1 or more"):
        OverlapRequest("c.yaml", micro_batches=[2, 0])
    with pytest.raises(UsageError, match=r"--cores-each 9999.*need 19998 cores"):
        OverlapRequest("c.yaml", cores_each=9999).places(["net1", "net2"])


def test_cores_are_shared_out_or_shared(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(7)))
    places = OverlapRequest("c.yaml").places(["net1", "net2", "net3"])
    assert {name: list(place.cores) for name, place in places.items()} == {
        "net1": [0, 1], "net2": [2, 3], "net3": [4, 5], "single": [0, 1, 2, 3, 4, 5],
    }  # fmt: skip
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5})
    places = OverlapRequest("c.yaml").places(["net1", "net2", "net3"])
    assert {tuple(place.cores) for place in places.values()} == {(3, 5)}
    assert [place.threads for place in places.values()] == [1, 1, 1, 0]


def test_schedules_that_the_rule_forbids_are_left_out(workdir):
    def names(*settings):
        said = []
        request = OverlapRequest("configs/digits.yaml", staleness=[1], activations=["keep"])
        case = Case(request.config, settings)
        return [variant.name for variant in variants(request, case, said.append)], said

    every = ["alternating", "pipelined 4", "overlapped 1 keep", "single"]
    assert names() == (every, [])
    found, said = names("coupling.target=admm")
    assert found == ["alternating", "single"]
    assert said[0].startswith("pool2:conv3: not pipelined: admm, which makes an update at each")
    assert said[1].startswith("pool2:conv3: not overlapped: admm, whose alternations")


def test_a_tiny_comparison_of_a_chain_of_three(dualnet):
    done = dualnet(
        "bench", "overlap", "configs/digits.yaml", "--set", "train.batch_size=8", "--iterations",
        "2", "--warm-up", "1", "--rounds", "1", "--staleness", "--micro-batches", "2",
        "--cut", "pool1:conv2+pool2:conv3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, *records = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["bench"] == "overlap" and head["cores"] >= 1
    assert [record["variant"] for record in records] == [
        "alternating", "pipelined 2", "single"
    ]  # fmt: skip
    alternating, pipelined, _ = records
    assert {record["cut"] for record in records} == {"pool1:conv2+pool2:conv3"}
    assert {record["batch"] for record in records} == {8}
    assert all(f"net{number}" in pipelined for number in (1, 2, 3))
    # pool1 and labels, whole or in parts
    assert alternating["net1"]["sent_bytes"] == 4 * 8 * (16 * 4 * 4 + 1)
    assert pipelined["net1"]["sent_bytes"] == alternating["net1"]["sent_bytes"]
    assert 0 < alternating["net1"]["wait_share"] < 1
    assert ("limit" in alternating) == (not pipelined["cores_shared"])
    assert pipelined["over_alternating"] > 0 and pipelined["over_single"] > 0
    assert "pool1:conv2+pool2:conv3 round 1: single" in done.stderr


def test_a_piece_that_fails_is_named(dualnet):
    done = dualnet(
        "bench", "overlap", "configs/digits.yaml", "--set", "train.batch_size=8", "--set",
        "net2.learning_rate=1e30", "--iterations", "3", "--rounds", "1", "--micro-batches",
    )  # fmt: skip
    assert done.returncode == 1
    assert "net2" in done.stderr and "loss is nan" in done.stderr.replace("inf", "nan")
