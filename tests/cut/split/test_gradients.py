"""Which bottoms and tops of a layer have a gradient."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.split.gradients import carries, passes


def layer(kind, more=""):
    return text_format.Parse(f'type: "{kind}" {more}', caffe_pb2.LayerParameter())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Convolution", [True]),
        ("Eltwise", [True, True, True]),
        ("Crop", [True, False]),
        ("LSTM", [True, False, True]),
        ("BatchReindex", [True, False]),
        ("Embed", [False]),
        ("ROIPooling", [True, False]),
        ("PSROIPooling", [True, False]),
        ("Upsample", [True, False]),
        ("SoftmaxWithLoss", [True, False]),
        ("EuclideanLoss", [True, True]),
        ("ContrastiveLoss", [True, True, False]),
        ("SmoothL1Loss", [True, True, False, False]),
        ("InfogainLoss", [True, False, False]),
        ("PriorBox", [False, False]),
        ("Accuracy", [False, False]),
        ("Scale", [True, True]),
    ],
)
def test_bottoms(kind, expected):
    assert [passes(layer(kind), slot) for slot in range(len(expected))] == expected


def test_propagate_down_decides_first():
    given = layer("Eltwise", "propagate_down: [false, true]")
    assert [passes(given, slot) for slot in range(3)] == [False, True, True]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Pooling", [True, False]),
        ("BN", [True, False, False]),
        ("Slice", [True, True, True]),
        ("ArgMax", [False]),
        ("SoftmaxWithLoss", [True, True]),
    ],
)
def test_tops(kind, expected):
    assert [carries(layer(kind), slot) for slot in range(len(expected))] == expected
