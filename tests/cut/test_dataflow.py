"""What layers hand to each other, with in-place layers told apart and both phases as one."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.dataflow import DataflowGraph, nearest
from dualnet.errors import ConfigError
from tests.cut.singles import CHAIN, DATA, classifier, conv, relu


def wired(text, **more):
    return DataflowGraph(text_format.Parse(text, caffe_pb2.NetParameter()), "net.prototxt", **more)


def names(dataflow, numbers):
    return [dataflow.layers[number].name for number in numbers]


def test_streams_of_one_blob_are_told_apart():
    dataflow = wired(CHAIN)
    first, second = (version for version in dataflow.versions if version.name == "conv1")
    assert names(dataflow, [number for number, _ in first.makers]) == ["conv1"]
    assert names(dataflow, [number for number, _ in first.readers]) == ["relu1"]
    assert names(dataflow, [number for number, _ in second.makers]) == ["relu1"]
    assert names(dataflow, [number for number, _ in second.readers]) == ["conv2"]
    assert dataflow.last("conv1") is second
    assert names(dataflow, dataflow.overwriters(first)) == ["relu1"]
    assert dataflow.overwriters(second) == []
    assert dataflow.is_in_place(second.makers[0]) and not dataflow.is_in_place(first.makers[0])


def test_data_layers_of_both_phases_make_one_stream():
    dataflow = wired(CHAIN)
    data, label = dataflow.versions[:2]
    assert [number for number, _ in data.makers] == [0, 1]
    assert data.phases == label.phases == {"TRAIN", "TEST"}
    assert dataflow.numbers_of("data") == [0, 1]
    assert dataflow.phases_of(0) == {"TRAIN"} and dataflow.phases_of(2) == {"TRAIN", "TEST"}


def test_labels_that_each_phase_reads_for_itself_are_one_stream():
    """A loss in training alone, an accuracy in tests alone: no layer reads both."""
    text = CHAIN.replace('top: "loss"', 'top: "loss" include { phase: TRAIN }')
    text += (
        "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'accuracy' "
        "include { phase: TEST } }\n"
    )
    dataflow = wired(text)
    (label,) = [version for version in dataflow.versions if version.name == "label"]
    assert label.phases == {"TRAIN", "TEST"} and label.makers == [(0, 1), (1, 1)]
    assert names(dataflow, [number for number, _ in label.readers]) == ["loss", "accuracy"]


def test_stream_of_one_phase_knows_it():
    extra = relu("extra", "conv3", "extra", "include { phase: TEST }")
    dataflow = wired(CHAIN + extra)
    assert dataflow.last("extra").phases == {"TEST"}
    assert dataflow.phases_of(dataflow.numbers_of("extra")[0]) == {"TEST"}


def test_layer_of_one_phase_in_place_joins_what_it_stands_between():
    dropout = (
        "layer { name: 'drop' type: 'Dropout' bottom: 'conv1' top: 'conv1' "
        "include { phase: TRAIN } }\n"
    )
    text = DATA + conv("conv1", "data") + dropout + conv("conv2", "conv1") + classifier("conv2")
    dataflow = wired(text)
    (version,) = [version for version in dataflow.versions if version.name == "conv1"]
    assert names(dataflow, [number for number, _ in version.makers]) == ["conv1", "drop"]
    assert version.phases == {"TRAIN", "TEST"}


def test_reader_in_two_places_counts_twice():
    total = "layer { name: 'sum' type: 'Eltwise' bottom: 'conv1' bottom: 'conv1' top: 'sum' }\n"
    dataflow = wired(DATA + conv("conv1", "data") + total + classifier("sum"))
    number = dataflow.numbers_of("sum")[0]
    assert dataflow.last("conv1").readers == [(number, 0), (number, 1)]


def test_one_phase_alone_and_the_solvers_stages():
    text = CHAIN.replace('top: "ip"', 'top: "ip" include { stage: "late" }')
    state = caffe_pb2.NetState(stage=["late"])
    dataflow = wired(text, phases=("TRAIN",), states={"TRAIN": state})
    assert list(dataflow.used) == ["TRAIN"]
    assert "ip" in names(dataflow, dataflow.numbers)
    with pytest.raises(ConfigError, match="layer loss reads ip in phase TRAIN"):
        wired(text)


def test_close_names_are_suggested():
    assert nearest("conv11", ["conv1", "data"]) == "; did you mean conv1?"
    assert nearest("zzz", ["conv1", "data"]) == ""
