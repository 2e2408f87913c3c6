"""The Net: what runs backward, partial passes, keyword inputs, sharing, files, callbacks."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.errors import CaffeError, GraphError, ShapeError, UnknownNameError, WeightsError
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN

IP = 'inner_product_param { num_output: 4 weight_filler { type: "gaussian" } }'
SIMPLE = f"""
name: "simple"
force_backward: true
layer {{ name: "in" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" {IP} }}
layer {{ name: "relu" type: "ReLU" bottom: "ip1" top: "relu" }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "relu" top: "ip2" {IP} }}
"""


@pytest.fixture
def make(tmp_path):
    """Builds a net from text."""

    def build(text, phase=TRAIN, **settings):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return Net(path, phase, **settings)

    return build


def fill(net, seed=0):
    net.blobs["data"].data[...] = np.random.default_rng(seed).standard_normal((2, 3))


def by_hand(net):
    x = net.blobs["data"].data
    (w1, b1), (w2, b2) = ([b.data for b in net.params[n]] for n in ("ip1", "ip2"))
    hidden = np.maximum(x @ w1.T + b1, 0)
    return hidden, hidden @ w2.T + b2


def test_forward_and_backward(make):
    net = make(SIMPLE)
    fill(net)
    hidden, expected = by_hand(net)
    out = net.forward(blobs=["relu"])
    assert set(out) == {"ip2", "relu"}
    np.testing.assert_allclose(out["ip2"], expected, rtol=1e-5, atol=1e-6)
    g = np.ones((2, 4), np.float32)
    diffs = net.backward(ip2=g, diffs=["relu"])
    assert set(diffs) == {"data", "relu"}
    down = (g @ net.params["ip2"][0].data) * (hidden > 0)
    expected = down @ net.params["ip1"][0].data
    np.testing.assert_allclose(diffs["data"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.params["ip2"][0].diff, g.T @ hidden, rtol=1e-5, atol=1e-7)
    net.backward()
    np.testing.assert_allclose(net.params["ip2"][0].diff, 2 * g.T @ hidden, rtol=1e-5, atol=1e-6)
    net.clear_param_diffs()
    assert not net.params["ip2"][0].diff.any()


def test_names_and_orders(make):
    net = make(SIMPLE)
    assert list(net.blobs) == ["data", "ip1", "relu", "ip2"]
    assert list(net.layer_dict) == net._layer_names == ["in", "ip1", "relu", "ip2"]
    assert [layer.type for layer in net.layers] == ["Input", "InnerProduct", "ReLU", "InnerProduct"]
    assert (net.inputs, net.outputs) == (["data"], ["ip2"])
    assert net.top_names["relu"] == ["relu"] and net.bottom_names["relu"] == ["ip1"]
    assert [len(blobs) for blobs in net.params.values()] == [2, 2]
    assert list(net._bottom_ids(2)) == [1] and list(net._top_ids(2)) == [2]


def test_outputs_are_alphabetical(make):
    net = make("""
        layer { name: "d" type: "DummyData" top: "z" top: "b" top: "m"
                dummy_data_param { shape { dim: 1 } } }""")
    assert net.outputs == ["b", "m", "z"]


def test_partial_passes(make):
    net = make(SIMPLE)
    fill(net)
    net.forward()
    net.blobs["relu"].data[...] = 1
    out = net.forward(start="ip2")
    np.testing.assert_allclose(out["ip2"][0], net.params["ip2"][0].data.sum(axis=1), rtol=1e-5)
    assert set(net.forward(end="ip1")) == {"ip1"}
    assert set(net.backward(start="ip2", end="ip2")) == {"relu"}
    with pytest.raises(UnknownNameError, match="no layer 'data' .that is a blob"):
        net.forward(start="data")
    with pytest.raises(ValueError, match="no layer 'nowhere'"):
        net.backward(end="nowhere")


def test_keyword_inputs_must_match(make):
    net = make(SIMPLE)
    with pytest.raises(CaffeError, match="'label', the net has 'data'"):
        net.forward(label=np.zeros((2, 3)))
    with pytest.raises(CaffeError, match=r"not batch sized: 'data' has shape \(3, 3\).*is 2"):
        net.forward(data=np.zeros((3, 3)))
    with pytest.raises(CaffeError, match="do not match net outputs"):
        net.backward(relu=np.zeros((2, 4)))


def test_forward_all_pads_the_last_batch(make):
    net = make(SIMPLE)
    x = np.random.randn(5, 3).astype(np.float32)
    whole = net.forward_all(data=x)["ip2"]
    assert whole.shape == (5, 4)
    for i in (0, 4):
        np.testing.assert_allclose(net.forward(data=x[[i, i]])["ip2"][0], whole[i], rtol=1e-5)
    blobs, diffs = net.forward_backward_all(data=x, ip2=np.ones((5, 4), np.float32))
    assert blobs["ip2"].shape == (5, 4) and diffs["data"].shape == (5, 3)


LOSS = """
layer {{ name: "in" type: "DummyData" top: "x" top: "t" dummy_data_param {{
  shape {{ dim: 2 dim: 3 }}
  data_filler {{ type: "gaussian" }} data_filler {{ type: "gaussian" }} }} }}
layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" {a}
  inner_product_param {{ num_output: 3 weight_filler {{ type: "gaussian" }} }} }}
layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" {b}
  inner_product_param {{ num_output: 3 weight_filler {{ type: "gaussian" }} }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "t" top: "loss" {loss} }}
layer {{ name: "side" type: "InnerProduct" bottom: "t" top: "side"
  inner_product_param {{ num_output: 3 }} }}
"""
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"


def need(net):
    return {n.name: (n.need_backward, n.bottom_need_backward) for n in net._structure.nodes}


def test_backward_runs_under_a_loss_only(make):
    found = need(make(LOSS.format(a="", b="", loss="")))
    assert found["a"] == (True, [False])
    assert found["b"] == (True, [True])
    assert found["loss"] == (True, [True, False])
    assert found["side"][0] is False
    weightless = need(make(LOSS.format(a="", b="", loss="loss_weight: 0")))
    assert not any(wanted for wanted, _ in weightless.values())


def test_frozen_layers_get_no_backward(make):
    found = need(make(LOSS.format(a=FROZEN, b="", loss="")))
    assert found["a"] == (False, [False]) and found["b"] == (True, [False])
    net = make(LOSS.format(a="", b=FROZEN, loss=""))
    assert need(net)["b"] == (True, [True])
    net.forward(), net.backward()
    assert not net.params["b"][0].diff.any() and net.params["a"][0].diff.any()


def test_propagate_down_replaces_inference(make):
    found = need(make(LOSS.format(a="", b="propagate_down: false", loss="")))
    assert found["b"] == (True, [False]) and found["a"] == (False, [False])
    with pytest.raises(GraphError, match="2 bottoms and 1 propagate_down"):
        make(LOSS.format(a="", b="", loss="propagate_down: true"))


def test_force_backward_reaches_data_and_frozen_parameters(make):
    net = make("force_backward: true" + LOSS.format(a=FROZEN, b=FROZEN, loss=""))
    net.forward(), net.backward()
    assert net.blobs["x"].diff.any() and net.params["a"][0].diff.any()


def test_duplicate_tops_and_reused_blobs(make):
    with pytest.raises(GraphError, match="'ip1' is produced by an earlier layer too"):
        text = SIMPLE.replace('bottom: "ip1"', 'bottom: "data"').replace('"relu"', '"ip1"')
        make(text)


def test_shared_parameters(make):
    text = SIMPLE.replace("dim: 3", "dim: 4").replace(
        'type: "InnerProduct"',
        'type: "InnerProduct" param { name: "w" lr_mult: 3 } param { name: "b" }',
    )
    net = make(text)
    first, second = net.params["ip1"][0], net.params["ip2"][0]
    first.data[...] = 2
    assert (second.data == 2).all()
    assert len(net._structure.learnable) == 2 and len(net._structure.params) == 4
    with pytest.raises(ShapeError, match=r"'w' is shared by layers 'ip1' and 'ip2'.*\(4, 3\)"):
        make(text.replace("dim: 4", "dim: 3"))


def test_weights_files(make, tmp_path):
    random.set_random_seed(1)
    net, other = make(SIMPLE), make(SIMPLE)
    for name in ("net.caffemodel", "net.h5"):
        path = tmp_path / name
        (net.save_hdf5 if name.endswith("h5") else net.save)(path)
        for blobs in other.params.values():
            blobs[0].data[...] = 0
        other.copy_from(path)
        for layer in net.params:
            for a, b in zip(net.params[layer], other.params[layer]):
                np.testing.assert_array_equal(a.data, b.data)
    legacy = Net(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"), TEST)
    np.testing.assert_array_equal(legacy.params["ip1"][0].data, net.params["ip1"][0].data)
    bigger = make(SIMPLE.replace("num_output: 4", "num_output: 5"))
    with pytest.raises(WeightsError, match=r"'ip1', parameter 0.*\(4, 3\).*\(5, 3\)"):
        bigger.copy_from(tmp_path / "net.caffemodel")
    with pytest.raises(WeightsError, match=r"'ip1', parameter 0.*\(4, 3\).*\(5, 3\)"):
        bigger.load_hdf5(tmp_path / "net.h5")


def test_share_with_and_memory_that_outlives_the_net(make):
    net, other = make(SIMPLE), make(SIMPLE)
    other.share_with(net)
    net.params["ip1"][0].data[...] = 5
    view = other.params["ip1"][0].data
    assert (view == 5).all()
    del net, other
    gc.collect()
    assert view.sum() == 60


def test_reshape_follows_the_input(make):
    net = make(SIMPLE)
    net.blobs["data"].reshape(6, 3)
    net.reshape()
    assert list(net.blobs["ip2"].shape) == [6, 4]
    assert net.forward(data=np.zeros((6, 3)))["ip2"].shape == (6, 4)
    net.blobs["data"].reshape(6, 5)
    with pytest.raises(ShapeError, match="'ip1'"):
        net.forward()


def test_callbacks_get_layer_indices(make):
    net = make(SIMPLE)
    seen = []
    net.before_forward(lambda i: seen.append(("before", i)))
    net.after_forward(lambda i: seen.append(("after", i)))
    net.before_backward(lambda i: seen.append(("down", i)))
    net.after_backward(lambda i: seen.append(("done", i)))
    net.forward(start="ip1", end="relu")
    net.backward(start="ip2", end="ip2")
    assert seen == [
        ("before", 1),
        ("after", 1),
        ("before", 2),
        ("after", 2),
        ("down", 3),
        ("done", 3),
    ]


def test_stages_and_levels(make):
    text = (
        SIMPLE
        + 'layer { name: "s" type: "Silence" bottom: "ip2" include { stage: "q" min_level: 2 } }'
    )
    assert make(text).outputs == ["ip2"]
    assert make(text, level=2, stages=["q"]).outputs == []
    assert make(text, level=2).outputs == ["ip2"]


def test_arguments_are_checked(make, tmp_path):
    make(SIMPLE)
    with pytest.raises(TypeError, match="needs a phase"):
        Net(tmp_path / "net.prototxt")
    with pytest.raises(TypeError, match="'wheights'"):
        Net(tmp_path / "net.prototxt", TEST, wheights="x")
    with pytest.raises(CaffeError, match="unknown type 'Relu'; the types are: .*ReLU"):
        make(SIMPLE.replace('"ReLU"', '"Relu"'))


# Layers that share a name or have none.

SHARED_NAMES = (
    SIMPLE
    + """
layer { name: "relu" type: "Power" bottom: "ip2" top: "a" power_param { scale: 2 } }
layer { type: "Power" bottom: "a" top: "b" power_param { scale: 3 } }
layer { type: "Power" bottom: "b" top: "c" power_param { scale: 5 } }
"""
)


def test_of_layers_with_one_name_start_and_end_mean_the_first(make):
    """As pycaffe's `list(self._layer_names).index(start)`; the dicts keep the last."""
    net = make(SHARED_NAMES)
    fill(net)
    net.forward()
    before = net.blobs["a"].data.copy()
    net.blobs["ip1"].data[...] = 1
    net.forward(end="relu")
    np.testing.assert_array_equal(net.blobs["a"].data, before)
    net.blobs["ip1"].data[...] = 1
    assert set(net.forward(start="relu")) == {"c"}
    np.testing.assert_allclose(net.blobs["relu"].data, 1)
    assert net.layer_dict["relu"].type == "Power" and net.top_names["relu"] == ["a"]


@pytest.mark.parametrize("kind", ["save", "save_hdf5"])
def test_weights_of_a_net_with_shared_names_come_back(make, tmp_path, kind):
    net, other = make(SHARED_NAMES), make(SHARED_NAMES)
    path = str(tmp_path / "weights")
    getattr(net, kind)(path)
    for blob in [*other.params["ip1"], *other.params["ip2"]]:
        blob.data[...] = 7
    other.copy_from(path)
    for layer in ("ip1", "ip2"):
        for one, two in zip(net.params[layer], other.params[layer]):
            np.testing.assert_array_equal(one.data, two.data)
    make(SHARED_NAMES, TEST).share_with(net)


def test_weights_find_the_first_layer_of_a_name(make, tmp_path):
    """Net::CopyTrainedLayersFrom searches from the front: a later one of a name is not found."""
    path = str(tmp_path / "weights")
    make(SIMPLE).save(path)
    again = f'layer {{ name: "ip2" type: "InnerProduct" bottom: "ip2" top: "ip3" {IP} }}'
    net = make(SIMPLE + again)
    first, second = net.layers[3], net.layers[4]
    kept = second.blobs[0].data.copy()
    first.blobs[0].data[...] = 7
    net.copy_from(path)
    assert not (first.blobs[0].data == 7).any()
    np.testing.assert_array_equal(second.blobs[0].data, kept)


@pytest.mark.parametrize(
    ("name", "message"),
    [('name: "ip2"', "two layers with weights are called 'ip2'"), ("", "layer .* has no name")],
)
def test_hdf5_says_which_layer_needs_a_name(make, tmp_path, name, message):
    again = f'layer {{ {name} type: "InnerProduct" bottom: "ip2" top: "ip3" {IP} }}'
    with pytest.raises(WeightsError, match=message):
        make(SIMPLE + again).save_hdf5(str(tmp_path / "weights.h5"))
