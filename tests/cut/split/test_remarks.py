"""What is said of a cut."""

from __future__ import annotations

import pytest

from dualnet import config
from tests.cut.singles import DATA, classifier, conv, cut_in_two
from tests.cut.split.topologies import TWO_WAYS

pytestmark = pytest.mark.usefixtures("workdir")


def test_what_crosses_unasked_is_found_and_said(tmp_path):
    yaml, _, remarks = cut_in_two(tmp_path / "nets", TWO_WAYS, "right", "sum")
    assert "also crossing the cut: left" in remarks
    assert config.load(yaml).cuts[0].blobs == ["right", "left"]


@pytest.mark.parametrize(
    ("more", "at", "dual", "remark"),
    [
        ("layer { name: 'x' type: 'Dropout' bottom: 'conv2' top: 'x' }", "conv2", "x",
         "dual layer x: net1 and net2 drop different values"),
        ("layer { name: 'x' type: 'BatchNorm' bottom: 'conv2' top: 'x' }", "conv2", "x",
         "dual layer x: both nets keep moving averages of their own"),
        ("layer { name: 'x' type: 'Pooling' bottom: 'conv2' top: 'x' pooling_param { "
         "pool: STOCHASTIC kernel_size: 2 } }", "conv2", "x",
         "dual layer x: net1 and net2 pool by different random numbers"),
        ("layer { name: 'x' type: 'ReLU' bottom: 'conv2' top: 'x' include { stage: 's' } }\n"
         "layer { name: 'x2' type: 'ReLU' bottom: 'conv2' top: 'x' include { not_stage: 's' } }",
         "conv2", "x2", "left out, as neither phase TRAIN nor TEST has them: x"),
    ],
)  # fmt: skip
def test_remarks(tmp_path, more, at, dual, remark):
    text = DATA + conv("conv1", "data") + conv("conv2", "conv1") + more + classifier("x")
    _, _, remarks = cut_in_two(tmp_path / "nets", text, at, dual)
    assert any(remark in one for one in remarks), remarks
