"""Names, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from dualnet.engine.errors import UnsupportedError
from dualnet.engine.export.module import identifiers, net_module
from dualnet.engine.export.program import trace
from tests.engine.export.nets import engine_outputs, net_of, single_layer

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }\n'
IP = 'type: "InnerProduct" inner_product_param { num_output: 4 weight_filler { type: "xavier" } }'


def test_weights_are_called_as_their_layers():
    module = net_module(net_of(
        INPUT + f'layer {{ name: "ip/1.a" bottom: "data" top: "ip" {IP} }}\n'
        'layer { name: "bn" type: "BatchNorm" bottom: "ip" top: "ip" }\n'
        'layer { name: "train" type: "Scale" bottom: "ip" top: "ip" }\n'
    ), ["ip"])  # fmt: skip
    assert set(module.state_dict()) == {
        "ip/1_a.weight", "ip/1_a.bias", "train_.weight", "bn.running_mean", "bn.running_var"
    }  # fmt: skip
    assert str(inspect.signature(module.forward)) == "(data)"


def test_shared_weights_stay_one():
    shared = IP.replace("inner", 'param { name: "w" } param { name: "b" } inner', 1)
    module = net_module(net_of(
        INPUT + f'layer {{ name: "a" bottom: "data" top: "a" {shared} }}\n'
        f'layer {{ name: "b" bottom: "a" top: "b" {shared} }}\n'
    ), ["b"])  # fmt: skip
    assert module.a.weight is module.b.weight and module.a.bias is module.b.bias
    assert len(list(trace(module).parameters())) in (2, 4)


def test_blobs_names_become_names_of_arguments():
    blobs = ["data", "a/b", "a.b", "1", "class"]
    assert identifiers(blobs) == ["data", "a_b", "a_b_", "_1", "class_"]


def test_all_layers_that_cannot_be_exported_are_named_in_one_line():
    text = INPUT + (
        'layer { name: "select" type: "DummyData" top: "select" '
        "dummy_data_param { shape { dim: 2 } } }\n"
        'layer { name: "pick" type: "Filter" bottom: "data" bottom: "select" top: "kept" }\n'
        'layer { name: "drop" type: "Dropout" bottom: "kept" top: "kept" '
        "dropout_param { sample_weights_test: true } }\n"
    )
    with pytest.raises(UnsupportedError) as caught:
        net_module(net_of(text), ["kept"])
    assert str(caught.value) == (
        "the net cannot be exported: layer 'select' (DummyData) makes a batch of a fixed size; "
        "feed it by an Input layer; layer 'pick' (Filter) has as many rows as its input's values "
        "say; export the net below it; layer 'drop' (Dropout) draws random numbers in tests, too; "
        "remove sample_weights_test"
    )


def test_a_type_that_export_does_not_have(monkeypatch):
    monkeypatch.setattr("dualnet.engine.export.support.EXPORTED", frozenset({"Input"}))
    with pytest.raises(UnsupportedError, match=r"layer 'l' \(TanH\) is of a type that export does"):
        net_module(net_of(single_layer('type: "TanH"', [(2, 3)])), ["y0"])


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        ('type: "Reshape" reshape_param { shape { dim: 2 dim: 12 } }', [(2, 3, 4)]),
        ('type: "Slice" slice_param { axis: 0 }', [(2, 3)]),
        ('type: "InnerProduct" inner_product_param { axis: 0 num_output: 3 }', [(2, 3)]),
    ],
)
def test_a_layer_that_fixes_the_batch_is_named(layer, shapes):
    kind = layer.split('"')[1]
    tops = 2 if kind == "Slice" else 1
    module = net_module(net_of(single_layer(layer, shapes, tops)), ["y0"])
    with pytest.raises(UnsupportedError) as caught:
        trace(module)
    assert f"the net cannot be exported: layer 'l' ({kind}) " in str(caught.value)
    assert "with a batch of any size: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_learned_blob_and_one_that_nobody_wants():
    text = INPUT + (
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 4 } } }\n'
        'layer { name: "s" type: "Scale" bottom: "data" bottom: "p" top: "s" }\n'
        'layer { name: "x" type: "TanH" bottom: "data" top: "x" }\n'
        'layer { name: "no" type: "Silence" bottom: "x" }\n'
    )
    net, judge = net_of(text), net_of(text)
    for one in (net, judge):
        one.params["p"][0].data[...] = [1, -2, 3, 0.5]
    program = trace(net_module(net, ["s"]))
    assert list(program.state_dict) == ["p.weight"]
    values = np.random.randn(5, 4).astype(np.float32)
    found = program.module()(torch.from_numpy(values))["s"].numpy()
    assert np.array_equal(found, engine_outputs(judge, [values], ["s"])["s"])
