"""`dualnet bench memory`: small probes on digits, and what the records say of each other."""

from __future__ import annotations

import json
import mmap
from dataclasses import replace

import pytest

from dualnet.bench.cuts import Case, parse_chain
from dualnet.bench.memory.largest import MemoryRequest, bench_memory
from dualnet.bench.memory.layers import count_layers
from dualnet.bench.memory.limit import memory_limit
from dualnet.bench.memory.probe import Probe, Prober
from dualnet.bench.memory.table import memory_table
from dualnet.bench.memory.usage import HostUsage, resident_mib
from tests.training.pieces import make_nets

CONFIG = "configs/digits.yaml"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--limit-mib"),
        (["--limit-mib", "9", "--start", "0"], "--start 0"),
        (["--limit-mib", "9", "--cut", "pool1"], "--cut pool1: expected BLOB:LAYER"),
        (
            ["--limit-mib", "9", "--pieces", "net3"],
            "net3: pool2:conv3 has single, net1, net2",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(dualnet, words, told):
    done = dualnet("bench", "memory", CONFIG, *words)
    assert done.returncode == 2
    assert told in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_probe_is_stopped_at_the_limit(workdir, repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    case = Case(CONFIG, [])
    base = Prober(case, 4096.0).probe("net2", 8)
    assert base.fits and base.base_mib < base.peak_mib < 4096 and base.iteration_s > 0
    # More than the net at batch 8 needs, far less than at 20000.
    prober = Prober(case, base.peak_mib + 40)
    stopped = prober.probe("net2", 20000)
    assert not stopped.fits and stopped.reason == "limit"


def test_the_command_from_end_to_end(dualnet, tmp_path):
    done = dualnet(
        "bench", "memory", CONFIG, "--limit-mib", "1500", "--start", "8192", "--resolution", "0.9",
        "--cut", "pool1:conv2+pool2:conv3", "--pieces", "net2", "--table", "table.md",
        "--iterations", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, found, *layers = [json.loads(line) for line in done.stdout.splitlines()]
    assert head["limit_mib"] == 1500 and head["cores"] >= 1
    assert (found["cut"], found["piece"]) == ("pool1:conv2+pool2:conv3", "net2")
    assert found["batch"] >= 8192 and found["base_mib"] < found["peak_mib"] <= 1500
    assert "net2: batch 8192 fits" in done.stderr
    names = [row["layer"] for row in layers]
    assert names[-1] == "(update)" and {"pool1_data", "conv2p", "conv3"} <= set(names)
    text = (tmp_path / "table.md").read_text()
    assert f"| digits | pool1:conv2+pool2:conv3 | net2 | {found['batch']} |" in text
    assert "| conv2p | Convolution |" in text


def test_layers_add_up_to_the_memory_of_the_net(workdir):
    rows = {row["layer"]: row for row in count_layers(make_nets("single", "run"))}
    conv1, relu1, data = rows["conv1"], rows["relu1"], rows["data"]
    values = 8 * 16 * 8 * 8  # batch 8, 16 channels, 8x8
    assert conv1["data"] * 2**20 == conv1["diff"] * 2**20 == 4 * values
    weights = 16 * 3 * 3 + 16
    assert conv1["params"] * 2**20 == pytest.approx(8 * weights)
    assert conv1["history"] * 2**20 == pytest.approx(4 * weights)
    assert relu1["data"] == relu1["diff"] == 0  # in place
    assert data["diff"] == 0 and data["data"] * 2**20 == 4 * (8 * 64 + 8)


def test_the_limit_is_that_of_the_plan(workdir, monkeypatch):
    from dualnet.cut.plan.cut_plan import Request, plan

    case = Case(CONFIG, ["train.batch_size=8"])
    net = "prototxt/digits/single_train_test.prototxt"
    found = plan(Request(net, batch=8, repeats=1))
    expected = next(chain for chain in found.cuts if chain.cuts[0].at == "pool2")
    assert expected.cuts[0].dual == ["conv3"]
    single, pair = found.single.memory_bytes, expected.outcomes["alternating"].largest_bytes
    assert memory_limit(case, 8) == pytest.approx(single / pair)
    case.cuts = parse_chain("pool1:conv2+pool2:conv3")
    assert memory_limit(case, 8) > single / pair


def test_the_usage_shows_what_is_touched():
    usage = HostUsage()
    if not usage.reset():
        pytest.skip("this system cannot reset the peak")
    before = usage.now()
    # Not from the heap: the engine lets the C library keep what is freed there.
    block = mmap.mmap(-1, 64 << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    assert usage.peak() - before > 60
    block.close()
    usage.reset()
    assert usage.peak() - before < 32
    assert resident_mib(2**22 + 1) is None


def test_a_chain_is_as_large_as_its_smallest_piece(workdir, monkeypatch):
    """In micro-batches of one size; a piece that was not asked for leaves no ratio."""
    most = {"single": 100, "net1": 170, "net2": 130, "net3": 900}

    def probe(self, piece, batch, iter_size=1):
        assert batch % 4 == 0
        return Probe(batch, batch <= most[piece], float(batch), 1.0, 0.5)

    monkeypatch.setattr(Prober, "probe", probe)
    settings = ("train.schedule=pipelined", "train.micro_batches=4", "train.batch_size=8")
    request = MemoryRequest(
        CONFIG, settings, ["pool1:conv2+pool2:conv3"], limit_mib=1e6, layers=False, resolution=0.001
    )
    head, *records, added, ratio = bench_memory(request)
    assert head["device"] == "cpu"
    assert {record["piece"]: record["batch"] for record in records} == {
        "single": 100, "net1": 168, "net2": 128, "net3": 900,
    }  # fmt: skip
    assert (ratio["single_batch"], ratio["chain_batch"]) == (100, 128)
    assert ratio["chain_over_single"] == 1.28 and ratio["limit"] > 0
    assert (added["iter_size"], added["batch"], added["effective_batch"]) == (2, 64, 128)
    some = replace(request, pieces=["net3"], chains=["pool1:conv2", *request.chains])
    assert [record["piece"] for record in bench_memory(some) if "piece" in record] == ["net3"]


def test_the_table_has_iter_size_and_ratio():
    names = {"net": "n", "cut": "p:c"}
    base = {"peak_mib": 90.0, "base_mib": 20.0, "kib_per_sample": 1.0, "samples_per_s": 5.0}
    text = memory_table(
        [
            {"bench": "memory", "limit_mib": 100, "device": "cpu"},
            {"net": "n", "piece": "single", "batch": 10, **base},
            {"net": "n", "piece": "single", "batch": 8, "iter_size": 2, "effective_batch": 16,
             "instead_of": 15, **base},
            {**names, "single_batch": 10, "chain_batch": 15, "chain_over_single": 1.5, "limit": 1.6,
             "share_of_limit": 0.938},
        ]
    )  # fmt: skip
    assert "100 MiB a process" in text
    assert "| n |  | single, iter_size 2 | 16 (2 x 8) | 90 |" in text
    assert "| n | p:c | 10 | 15 | **1.50** | 1.6 | 0.938 |" in text
