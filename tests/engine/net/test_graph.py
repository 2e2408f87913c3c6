"""Filtering by state and Split insertion."""

from __future__ import annotations

import pytest

from dualnet.engine.errors import GraphError, PrototxtError
from dualnet.engine.formats import prototxt
from dualnet.engine.net import graph
from dualnet.engine.proto import caffe_pb2


def net(text):
    return prototxt.parse_text(text, caffe_pb2.NetParameter, "net")


@pytest.mark.parametrize(
    ("rules", "state", "kept"),
    [
        ("include { phase: TRAIN }", "phase: TRAIN", True),
        ("include { phase: TRAIN }", "phase: TEST", False),
        ("include { min_level: 2 }", "level: 1", False),
        ("include { min_level: 2 max_level: 3 }", "level: 3", True),
        ("include { max_level: 3 }", "level: 4", False),
        ('include { stage: "a" stage: "b" }', 'stage: "a"', False),
        ('include { stage: "a" stage: "b" }', 'stage: "a" stage: "b" stage: "c"', True),
        ('include { stage: "a" } include { stage: "b" }', 'stage: "b"', True),
        ('include { not_stage: "a" }', 'stage: "a"', False),
        ('exclude { phase: TEST stage: "a" }', "phase: TEST", True),
        ('exclude { phase: TEST stage: "a" }', 'phase: TEST stage: "a"', False),
    ],
)
def test_rules(rules, state, kept):
    message = net(f'state {{ {state} }} layer {{ name: "x" type: "Silence" {rules} }}')
    assert bool(graph.filter_layers(message).layer) is kept


def test_include_with_exclude_is_refused():
    message = net('layer { name: "x" include { phase: TRAIN } exclude { phase: TEST } }')
    with pytest.raises(PrototxtError, match="'x' has 1 include and 1 exclude"):
        graph.filter_layers(message)


def shape_of(message):
    return [(p.name, list(p.bottom), list(p.top), list(p.loss_weight)) for p in message.layer]


def test_a_blob_with_two_readers_is_split():
    message = net("""
        layer { name: "d" type: "DummyData" top: "x" top: "y" }
        layer { name: "a" type: "ReLU" bottom: "y" top: "a" }
        layer { name: "b" type: "ReLU" bottom: "y" top: "b" }
    """)
    assert shape_of(graph.insert_splits(message)) == [
        ("d", [], ["x", "y"], []),
        ("y_d_1_split", ["y"], ["y_d_1_split_0", "y_d_1_split_1"], []),
        ("a", ["y_d_1_split_0"], ["a"], []),
        ("b", ["y_d_1_split_1"], ["b"], []),
    ]


def test_a_loss_weight_reads_too():
    message = net("""
        layer { name: "d" type: "DummyData" top: "x" }
        layer { name: "r" type: "Reduction" bottom: "x" top: "r" loss_weight: 3 }
        layer { name: "s" type: "Silence" bottom: "r" }
    """)
    assert shape_of(graph.insert_splits(message))[1:] == [
        ("r", ["x"], ["r"], []),
        ("r_r_0_split", ["r"], ["r_r_0_split_0", "r_r_0_split_1"], [3, 0]),
        ("s", ["r_r_0_split_1"], [], []),
    ]


def test_in_place_layers_separate_readers_before_and_after():
    message = net("""
        layer { name: "d" type: "DummyData" top: "x" }
        layer { name: "r" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "a" type: "Silence" bottom: "x" }
        layer { name: "b" type: "Silence" bottom: "x" }
    """)
    names = [p.name for p in graph.insert_splits(message).layer]
    assert names == ["d", "r", "x_r_0_split", "a", "b"]


def test_unknown_bottoms_are_named():
    message = net('layer { name: "a" type: "ReLU" bottom: "nowhere" top: "a" }')
    with pytest.raises(GraphError, match="'a' .*bottom 0: unknown blob 'nowhere'"):
        graph.insert_splits(message)
