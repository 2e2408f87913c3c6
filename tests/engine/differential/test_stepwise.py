"""Layer by layer from another's numbers, where the engine plays both parts."""

from __future__ import annotations

import numpy as np

from dualnet.engine.net.net import Net
from tests.engine.differential import compare as comparison
from tests.engine.differential.random_net import RandomNet
from tests.engine.differential.stepwise import run_stepwise
from tests.engine.differential.writer import Given

TEXT = """
force_backward: true
layer { name: "in0" type: "Input" top: "in0" input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
layer { name: "bias" type: "Bias" bottom: "in0" top: "bias" bias_param { num_axes: 0 } }
layer { name: "relu" type: "ReLU" bottom: "bias" top: "bias" }
layer { name: "pool" type: "Pooling" bottom: "bias" top: "pool" pooling_param { kernel_size: 2 } }
layer { name: "power" type: "Power" bottom: "pool" top: "power" power_param { scale: 3 } }
"""
#: Two candidates for the maximum, one unit in the last place apart.
FIRST, SECOND = np.float32(1.0), np.nextafter(np.float32(1.0), np.float32(2.0))


def _run(tmp_path, values):
    path = tmp_path / "net.prototxt"
    path.write_text(TEXT)
    given = {
        "data:in0": np.array(values, np.float32).reshape(1, 1, 2, 2),
        "diff:power": np.ones((1, 1, 1, 1), np.float32),
    }
    case = RandomNet(seed=0, text=TEXT, inputs={"in0": Given((1, 1, 2, 2))})
    net = Net(path, 0)
    return net, given, comparison.run_engine(net, case, given)


def test_a_last_bit_that_decides_a_maximum_ends_at_its_layer(tmp_path):
    net, given, ours = _run(tmp_path, [SECOND, FIRST, 0, -1])
    theirs = _run(tmp_path, [FIRST, SECOND, 0, -1])[2]
    assert np.abs(ours["diff:bias"] - theirs["diff:bias"]).max() == 3  # the other pixel

    def stepwise():
        return run_stepwise(net, given, theirs, comparison.blobs_with_gradient(net))

    verdict = comparison.judge_arrays(ours, theirs, stepwise, dict, {})
    assert {found.name for found in verdict.stepwise} == {"diff:bias", "diff:in0"}
    assert not verdict.ill_conditioned and not verdict.mismatches


def test_an_error_of_one_layer_is_found_there_and_nowhere_else(tmp_path):
    net, given, ours = _run(tmp_path, [3, 1, 0, -1])
    theirs = {name: values.copy() for name, values in ours.items()}
    theirs["data:pool"] *= np.float32(1.1)  # as if pooling were wrong by a tenth,
    theirs["data:power"] *= np.float32(1.1)  # which is handed on
    theirs["diff:pool"] *= np.float32(0.9)  # and Power's gradient by another,
    theirs["diff:bias"] *= np.float32(0.9)  # handed on through pooling and ReLU
    theirs["diff:in0"] *= np.float32(0.9)
    theirs["grad:bias:0"] *= np.float32(0.9)

    def stepwise():
        return run_stepwise(net, given, theirs, comparison.blobs_with_gradient(net))

    verdict = comparison.judge_arrays(ours, theirs, stepwise, lambda: ours, {})
    assert {found.name for found in verdict.mismatches} == {"data:pool", "diff:pool"}
    assert len(verdict.stepwise) == 4
