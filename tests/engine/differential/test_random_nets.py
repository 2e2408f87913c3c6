"""Random nets on both providers; scripts/compare_random_nets.py runs as many as one likes."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.net.net import Net
from tests.engine.differential import compare as comparison
from tests.engine.differential.compare import Rejected, compare
from tests.engine.differential.judge import Judge, JudgeDied
from tests.engine.differential.known import KNOWN, known_net
from tests.engine.differential.random_net import random_net

#: Nets a block, and blocks: together 60 nets, in seconds.
BLOCK, BLOCKS = 10, 6


@pytest.fixture(scope="module")
def judge(bvlc_python, tmp_path_factory):
    """BVLC Caffe, one process for all nets."""
    with Judge(bvlc_python, tmp_path_factory.mktemp("judge")) as judge:
        yield judge


@pytest.mark.bvlc
@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_nets(judge, tmp_path, block):
    compared = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            verdict = compare(judge, tmp_path, random_net(seed))
        except Rejected:
            continue
        assert not verdict.mismatches, f"seed {seed}: {', '.join(map(str, verdict.mismatches))}"
        compared += verdict.arrays
    assert compared > 10 * BLOCK, "hardly anything was compared"


@pytest.mark.bvlc
@pytest.mark.parametrize("name", KNOWN)
def test_known(judge, tmp_path, name):
    net, differs = known_net(name)
    found = {difference.name for difference in compare(judge, tmp_path, net).mismatches}
    assert found == differs


@pytest.mark.bvlc
def test_judge_survives_its_death(judge, tmp_path):
    path = tmp_path / "bad.prototxt"
    path.write_text('layer { name: "a" type: "ReLU" bottom: "missing" top: "b" }\n')
    job = {"net": str(path), "weights": "", "phase": 0, "inputs": [], "diffs": [], "passes": 1}
    with pytest.raises(JudgeDied, match="missing"):
        judge.run({**job, "backwards": 1}, {})
    assert not compare(judge, tmp_path, known_net("dropout_ratio_zero")[0]).mismatches


def test_a_seed_is_a_net():
    assert random_net(7) == random_net(7)
    assert random_net(7).text != random_net(8).text


def test_generator_writes_many_layer_types():
    text = "".join(random_net(seed).text for seed in range(300))
    types = {word.split('"')[1] for word in text.split() if word.startswith('"')} & {
        part.split('"')[0] for part in text.split('type: "')[1:]
    }
    assert len(types) > 40


def test_propagate_down_alone_computes_nothing(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(known_net("propagate_down_alone")[0].text)
    net = Net(path, 0)
    net.blobs["in0"].data[...] = np.arange(12).reshape(4, 3)
    net.forward()
    net.backward()
    assert not net.blobs["l1"].diff.any()


def test_rounding_is_no_mismatch_but_an_error_is():
    draw = np.random.default_rng(0)
    ours = {"data:a": np.array([1.0, 2.0], np.float32)}

    def jittered():
        return {"data:a": ours["data:a"] + draw.normal(0, 1e-4, 2).astype(np.float32)}

    def verdict(error):
        theirs = {"data:a": ours["data:a"] + np.float32(error)}
        return comparison.judge_arrays(ours, theirs, dict, jittered, {})

    assert verdict(1e-6).worst > 0
    assert verdict(1e-4).ill_conditioned and not verdict(1e-4).mismatches
    assert verdict(0.1).mismatches
