"""Plans: the recommendation and the command."""

from __future__ import annotations

import json

import pytest

from dualnet.cut.plan import Request, plan, recommend
from dualnet.cut.plan.estimate import Estimate, HalfCost
from dualnet.cut.plan.table import to_text
from dualnet.errors import ConfigError, StorageFailed
from tests.cut.singles import CHAIN, SOLVER, write_single

DIGITS = "prototxt/digits/single_train_test.prototxt"


def costing(memory, alternating, overlapped):
    half = HalfCost(1, 1.0, 1.0, 1.0, memory)
    small = HalfCost(1, 1.0, 1.0, 1.0, 1)
    return Estimate(None, half, small, 1, 1, alternating, overlapped, 1.0)


def test_memory_decides_and_then_time():
    whole = HalfCost(1, 1.0, 1.0, 1.0, 200 << 20)
    cuts = [
        costing(100 << 20, 9.0, 5.0),
        costing(104 << 20, 8.0, 6.0),  # as good as the first: within 5 %
        costing(120 << 20, 1.0, 1.0),
    ]
    best, reason = recommend(cuts, whole, "alternating")
    assert best is cuts[1]
    assert "needs 104 MiB, 48% less than the single net" in reason
    assert "the fastest alternating of 2 like it" in reason
    assert recommend(cuts, whole, "overlapped")[0] is cuts[0]
    best, reason = recommend(cuts[2:], HalfCost(1, 1.0, 1.0, 1.0, 120 << 20), "alternating")
    assert best is cuts[2]
    assert "No cut saves memory; this one is the fastest alternating, 67% less time" in reason
    assert recommend([], whole, "alternating") == (None, "the net cannot be cut in two")


def test_no_cut_may_help():
    """As much memory as the single net, and longer iterations: nothing to recommend."""
    whole = HalfCost(1, 1.0, 1.0, 1.0, 100 << 20)
    cuts = [costing(100 << 20, 3.0, 2.0), costing(120 << 20, 9.0, 8.0)]
    best, reason = recommend(cuts, whole, "alternating")
    assert best is None
    assert (
        "no cut helps: the larger half of each needs 100 MiB or more, the single net 100" in reason
    )
    assert "takes 3e+03 ms or more alternating, the single net's 3e+03" in reason
    best, reason = recommend(cuts, whole, "overlapped")
    assert best is cuts[0] and "33% less time" in reason
    assert recommend(cuts[1:], whole, "overlapped")[0] is None


def test_iter_size_counts_every_batch(workdir):
    path = write_single(workdir, CHAIN, SOLVER + "iter_size: 4")
    found = plan(Request(path, batch=4, repeats=1))
    once = plan(Request(write_single(workdir / "once"), batch=4, repeats=1))
    assert (found.batch, found.iter_size, once.iter_size) == (4, 4, 1)
    for many, one in zip(found.cuts, once.cuts):
        assert (many.up_bytes, many.down_bytes) == (4 * one.up_bytes, 4 * one.down_bytes)
        assert many.net1.memory_bytes == one.net1.memory_bytes
    assert "batches of 4, 4 an update" in to_text(found)


def test_a_real_net_is_planned(workdir):
    found = plan(Request(DIGITS, batch=8, repeats=2))
    assert found.batch == 8 and found.name == "digits_single"
    names = [cut.cut.at for cut in found.cuts]
    assert names == [
        "conv1", "pool1", "conv2", "pool2", "conv3", "relu3", "conv4", "pool4", "ip1"
    ]  # fmt: skip
    pool2 = found.cuts[names.index("pool2")]
    assert (pool2.up_bytes, pool2.down_bytes) == (4 * (8 * 32 * 4 + 8), 4 * 8 * 32 * 4)
    # What both halves have of the single net, and the dual layer once more.
    conv3 = 32 * 32 * 9 + 32
    total = pool2.net1.parameters + pool2.net2.parameters
    assert total == found.single.parameters + conv3
    assert found.best in found.cuts


def test_mistakes(workdir):
    with pytest.raises(StorageFailed, match="nowhere: cannot exchange files"):
        plan(Request(DIGITS, batch=8, repeats=1, exchange_dir="nowhere"))
    with pytest.raises(ConfigError, match="no solver of a matching name beside it"):
        (workdir / "alone.prototxt").write_text((workdir / DIGITS).read_text())
        plan(Request("alone.prototxt"))


def test_command(dualnet, workdir):
    words = ["plan", DIGITS, "--batch", "8", "--repeats", "1", "--threads", "1"]
    done = dualnet(*words, "--json", "-o", "plan.png")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["batch"] == 8 and record["threads"] == 1 and len(record["cuts"]) == 9
    assert (workdir / "plan.png").read_bytes().startswith(b"\x89PNG")
    for options, message in (
        (["--batch", "0"], "--batch 0: 1 or more is needed"),
        (["-o", "plan.png"], "plan.png exists already"),
        (["--device", "gpu"], "--device gpu: neither cpu nor the number of a GPU"),
    ):
        done = dualnet("plan", DIGITS, *options)
        assert done.returncode == 2 and message in done.stderr


def test_a_cut_that_the_test_phase_has_not_is_none(workdir):
    # In training pool2 is made of conv2 as ever; in the test phase nothing of that name is.
    text = (workdir / DIGITS).read_text()
    start = text.index('layer {\n  name: "pool2"')
    end = text.index("layer {", start + 1)
    pool2 = text[start:end].replace(
        "  pooling_param", "  include { phase: TRAIN }\n  pooling_param"
    )
    other = pool2.replace("TRAIN", "TEST").replace("MAX", "AVE").replace('top: "pool2"', 'top: "p"')
    conv3 = text[end : text.index("layer {", end + 1)]
    train = conv3.replace("  convolution_param", "  include { phase: TRAIN }\n  convolution_param")
    test = train.replace("TRAIN", "TEST").replace('bottom: "pool2"', 'bottom: "p"')
    rest = text[end + len(conv3) :]
    net = text[:start] + pool2 + other + train + test + rest
    (workdir / "net_train_test.prototxt").write_text(net)
    solver = (workdir / "prototxt/digits/single_solver.prototxt").read_text()
    (workdir / "net_solver.prototxt").write_text(solver)
    found = plan(Request("net_train_test.prototxt", batch=8, repeats=1))
    assert "pool2" not in [cut.cut.at for cut in found.cuts]
    assert "pool2" in [refusal.at for refusal in found.refusals]
    assert "conv2" in [cut.cut.at for cut in found.cuts]
