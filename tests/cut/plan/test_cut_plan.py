"""Plans of real nets, and the command."""

from __future__ import annotations

import argparse
import json

import pytest

from dualnet.cli.plan import add
from dualnet.cut.plan.cut_plan import Request, plan
from dualnet.cut.plan.table import to_text
from dualnet.errors import ConfigError, StorageFailed, UsageError
from tests.cut.plan.planning import planned
from tests.cut.singles import CHAIN, SOLVER, write_single

DIGITS = "prototxt/digits/single_train_test.prototxt"


def test_iter_size_counts_every_batch(workdir):
    path = write_single(workdir, CHAIN, SOLVER + "iter_size: 4")
    found = plan(Request(path, batch=4, repeats=1))
    assert (found.measured.batch, found.measured.iter_size, found.measured.micro_batches) == (
        4,
        4,
        4,
    )
    outcomes = found.cuts[0].outcomes
    assert outcomes["alternating"].schedule.parts == 4
    assert outcomes["pipelined"].schedule.parts == 16
    assert outcomes["overlapped"].schedule.aheads == (4, 0)
    assert "batches of 4, 4 an update" in to_text(found)


def test_a_real_net_is_planned(workdir):
    found = plan(Request(DIGITS, batch=8, repeats=2))
    assert found.measured.batch == 8 and found.measured.name == "digits_single"
    names = [chain.cuts[0].at for chain in found.cuts]
    assert names == [
        "conv1", "pool1", "conv2", "pool2", "conv3", "relu3", "conv4", "pool4", "ip1"
    ]  # fmt: skip
    pool2 = found.cuts[names.index("pool2")].outcomes
    (link,) = pool2["alternating"].links
    assert (link.up_bytes, link.down_bytes) == (4 * (8 * 32 * 4 + 8), 4 * 8 * 32 * 4)
    (part,) = pool2["pipelined"].links
    assert part.up_bytes == link.up_bytes / 4
    # What both pieces have of the single net, and the dual layer once more.
    conv3 = 32 * 32 * 9 + 32
    total = sum(piece.parameters for piece in pool2["alternating"].pieces)
    assert total == found.measured.costs.single.parameters + conv3
    assert list(found.choices) == ["alternating", "overlapped", "pipelined"]


def test_memory_decides_how_many_pieces_are_needed():
    whole = planned().single.memory_bytes
    assert not planned(limit_bytes=whole).choice.helps
    cut = planned(limit_bytes=whole - 1, pieces=3)
    assert cut.choice.helps and len(cut.best.cuts) == 2
    assert cut.best.outcomes["alternating"].largest_bytes < whole
    assert "no chain of 3 pieces fits" in planned(limit_bytes=100, pieces=3).choice.reason


def test_mistakes(workdir):
    with pytest.raises(StorageFailed, match="nowhere: cannot exchange files"):
        plan(Request(DIGITS, batch=8, repeats=1, exchange_dir="nowhere"))
    with pytest.raises(ConfigError, match="no solver of a matching name beside it"):
        (workdir / "alone.prototxt").write_text((workdir / DIGITS).read_text())
        plan(Request("alone.prototxt"))
    with pytest.raises(UsageError, match="--micro-batches 3: the batch of 8 samples cannot be"):
        plan(Request(DIGITS, batch=8, micro_batches=3))


def test_command(dualnet, workdir):
    words = ["plan", DIGITS, "--batch", "8", "--repeats", "1", "--threads", "1"]
    chain = ["--pieces", "3", "--memory-gib", "0.0004", "--schedule", "pipelined"]
    done = dualnet(*words, *chain, "--json", "-o", "plan.png", "--write", "nets")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["batch"] == 8 and record["threads"] == 1 and len(record["cuts"]) == 9
    assert len(record["schedules"]["pipelined"]["pieces"]) == 3
    assert (workdir / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert record["schedules"]["pipelined"]["helps"]
    assert (workdir / "nets" / "net3_train_test.prototxt").exists()
    assert "train with: dualnet train nets/dual.yaml --set train.schedule=pipelined" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "0"], "--batch 0: 1 or more is needed"),
        (["--pieces", "1"], "--pieces 1: 2 or more is needed"),
        (["--memory-gib", "0"], "--memory-gib 0: a number of GiB above 0 is needed"),
        (["--latency-ms", "-1"], "--latency-ms -1: milliseconds, 0 or more, are needed"),
        (["--mbit-per-s", "0"], "--mbit-per-s 0: a number of Mbit/s above 0 is needed"),
        (["--device", "gpu"], "--device gpu: neither cpu nor the number of a GPU"),
    ],
)
def test_mistakes_of_the_command(options, message):
    with pytest.raises(UsageError, match=message):
        options = parse("plan", DIGITS, *options)
        options.run(options)


def parse(*words):
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    return parser.parse_args(words)


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
    assert "pool2" not in [chain.cuts[0].at for chain in found.cuts]
    assert "pool2" in [refusal.at for refusal in found.measured.refusals]
    assert "conv2" in [chain.cuts[0].at for chain in found.cuts]
