"""Driving nets by hand on either provider: what goes in, which layers run, what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.backend import caffe
from dualnet.errors import ConfigError
from dualnet.training.net.driver import NetDriver

MEMORY = """
layer { name: "memory" type: "MemoryData" top: "x" top: "label"
  memory_data_param { batch_size: 2 channels: 3 height: 2 width: 2 } }
"""
INPUT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }
"""
# x and label are read twice, so Caffe inserts Split layers behind them; relu works in place.
BODY = """
layer { name: "double" type: "Eltwise" bottom: "x" bottom: "x" top: "s" }
layer { name: "relu" type: "ReLU" bottom: "s" top: "s" }
layer { name: "ip" type: "InnerProduct" bottom: "s" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
layer { name: "zloss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "zloss"
  loss_weight: 3 }
layer { name: "aloss" type: "Sigmoid" bottom: "ip" top: "aloss" loss_weight: 0.5 }
"""


@pytest.fixture
def make(tmp_path):
    def make(text):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return NetDriver(caffe.Net(str(path), caffe.TRAIN), "net.prototxt")

    return make


def batch():
    return {
        "x": np.random.randn(2, 3, 2, 2).astype(np.float32),
        "label": np.array([3, 1], np.float32),
    }


# Feeding.


@pytest.mark.parametrize("source", [MEMORY, INPUT])
def test_fed_blobs_hold_the_values_at_once(make, source):
    driver = make(source + BODY)
    for _ in range(3):
        values = batch()
        driver.feed(values)
        np.testing.assert_array_equal(driver.data("x"), values["x"])
        np.testing.assert_array_equal(driver.data("label").ravel(), values["label"])
        driver.forward()
        np.testing.assert_array_equal(driver.data("s"), np.maximum(2 * values["x"], 0))


@pytest.mark.parametrize("source", [MEMORY, INPUT])
def test_same_batch_gives_the_same_loss_whatever_feeds_it(make, source):
    driver = make(source + BODY)
    driver.set_parameters({"ip.0": np.linspace(-1, 1, 48).reshape(4, 12)})
    values = batch()
    driver.feed(values)
    loss = driver.forward()
    scores = np.maximum(2 * values["x"], 0).reshape(2, -1) @ driver.parameters(["ip"])["ip.0"].T
    rows = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -3 * np.mean([rows[0, 3], rows[1, 1]]) + 0.5 * (1 / (1 + np.exp(-scores))).sum()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_values_are_copied_in(make):
    driver = make(MEMORY + BODY)
    values = batch()
    driver.feed(values)
    expected = values["x"].copy()
    values["x"][...] = 7
    driver.forward()
    np.testing.assert_array_equal(driver.data("x"), expected)


def test_label_of_memory_data_need_not_be_fed(make):
    driver = make(MEMORY + BODY)
    driver.feed({"x": batch()["x"]})
    np.testing.assert_array_equal(driver.data("label").ravel(), [0, 0])


@pytest.mark.parametrize(
    ("source", "blob", "shape"),
    [
        (MEMORY, "x", (3, 3, 2, 2)),
        (MEMORY, "x", (2, 3, 2, 3)),
        (MEMORY, "x", (24,)),
        (MEMORY, "label", (3,)),
        (INPUT, "x", (24,)),
        (INPUT, "label", (2, 3)),
    ],
)
def test_wrong_shapes_are_named(make, source, blob, shape):
    driver = make(source + BODY)
    good = (2, 3, 2, 2) if blob == "x" else (2,)
    with pytest.raises(ConfigError) as caught:
        driver.feed({blob: np.zeros(shape, np.float32)})
    message = str(caught.value)
    assert message.startswith(f"net.prototxt: {blob} takes {good} and was given {shape}; make")


def test_input_takes_the_shape_of_what_it_is_given(make):
    driver = make(
        INPUT + 'layer { name: "double" type: "Eltwise" bottom: "x" bottom: "x" top: "s" }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "x" top: "l" }\n'
    )
    for shape in ((2, 3, 2, 2), (3, 3, 4, 1), (1, 3, 2, 2)):
        x = np.random.randn(*shape).astype(np.float32)
        label = np.zeros((shape[0], 1, 1), np.float32)  # ones at the end say nothing
        driver.feed({"x": x, "label": label})
        assert driver.data("label").shape == shape[:1]
        assert driver.forward() == pytest.approx(np.sum(x**2) / 2 / shape[0], rel=1e-5)
        np.testing.assert_allclose(driver.data("s"), 2 * x, rtol=1e-6)
    assert driver.built_shapes["x"] == [2, 3, 2, 2]


def test_put_reaches_what_split_layers_have_made(make):
    driver = make(INPUT + BODY)
    driver.feed(batch())
    driver.forward()
    x = np.random.randn(3, 3, 2, 2).astype(np.float32)
    driver.put({"x": x})
    for name in driver.net._blob_names:
        if str(name).startswith("x"):
            np.testing.assert_array_equal(driver.data(str(name)), x)


# Running a stretch of layers.


@pytest.mark.parametrize("source", [MEMORY, INPUT])
def test_stretches_add_up_to_the_whole(make, source):
    driver = make(source + BODY)
    values = batch()
    driver.feed(values)
    whole = driver.forward()
    expected = {blob: driver.data(blob).copy() for blob in ("s", "ip")}
    driver.data("s")[...] = -1
    driver.data("ip")[...] = -1
    driver.feed(values)
    assert driver.forward(last="relu") == 0
    np.testing.assert_array_equal(driver.data("s"), expected["s"])
    assert (driver.data("ip") == -1).all(), "not run yet"
    assert driver.forward(driver.layer_after("relu"), "ip") == 0
    np.testing.assert_array_equal(driver.data("ip"), expected["ip"])
    rest = driver.forward(driver.layer_after("ip"))
    assert rest == pytest.approx(whole, rel=1e-6)


TWINS = """
layer { name: "twin" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }
layer { name: "twin" type: "Power" bottom: "x" top: "b" power_param { scale: 3 } }
layer { type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
layer { type: "Reduction" bottom: "sum" top: "total" loss_weight: 1 }
layer { type: "Silence" bottom: "label" }
"""


@pytest.mark.parametrize("source", [MEMORY, INPUT])
def test_layers_that_share_a_name_are_told_apart_by_place(make, source):
    driver = make(source + TWINS)
    first = source.count("layer {")
    values = batch()
    driver.feed(values)
    assert driver.forward() == pytest.approx(5 * values["x"].sum(), rel=1e-4)
    for blob in "ab":
        driver.data(blob)[...] = 0
    driver.run([first + 1])
    assert not driver.data("a").any()
    np.testing.assert_allclose(driver.data("b"), 3 * values["x"], rtol=1e-6)
    driver.data("b")[...] = 1
    driver.forward_without([*range(first), first + 1], last=first + 2)
    np.testing.assert_allclose(driver.data("sum"), 2 * values["x"] + 1, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"net\.prototxt: 2 layers named 'twin'"):
        driver.run(["twin"])


def test_split_layers_go_with_the_layer_before_them(make):
    driver = make(MEMORY + BODY)
    types = [layer.type for layer in driver.net.layers]
    assert types[:3] == ["MemoryData", "Split", "Split"]
    assert driver.layer_after("memory") == 1
    assert driver.layer_after("ip") == 4
    # The copies of the label are filled by feed, not only by the next full pass.
    driver.feed(batch())
    copies = [name for name in driver.net.blobs if name.startswith("label_")]
    assert len(copies) == 2
    for name in copies:
        np.testing.assert_array_equal(driver.data(name).ravel(), [3, 1])


def test_in_place_layer_at_the_cut_belongs_below_it(make):
    driver = make(INPUT + BODY)
    values = batch()
    driver.feed(values)
    driver.forward(last="double")
    np.testing.assert_array_equal(driver.data("s"), 2 * values["x"])
    driver.forward("relu", "relu")
    np.testing.assert_array_equal(driver.data("s"), np.maximum(2 * values["x"], 0))


def test_backward_adds_to_parameter_diffs(make):
    driver = make(INPUT + BODY)
    driver.feed(batch())
    driver.forward()
    driver.backward()
    once = np.array(driver.net.params["ip"][0].diff)
    assert once.any()
    driver.backward()
    np.testing.assert_allclose(driver.net.params["ip"][0].diff, 2 * once, rtol=1e-5, atol=1e-7)
    assert driver.diff("ip").any()


# Looking at what is there.


def test_outputs_are_in_the_order_of_caffes_log_with_their_weights(make):
    driver = make(INPUT + BODY)
    driver.feed(batch())
    loss = driver.forward()
    outputs = driver.outputs()
    # Alphabetical, as Caffe keeps them in a set.
    assert [(name, weight) for name, _, weight in outputs] == [
        ("accuracy", 0), ("aloss", 0.5), ("zloss", 3),
    ]  # fmt: skip
    assert sum(weight * values.sum() for _, values, weight in outputs) == pytest.approx(loss)
    assert all(values.ndim == 1 for _, values, _ in outputs)
    kept = outputs[2][1].copy()
    driver.feed(batch())
    driver.forward()
    np.testing.assert_array_equal(outputs[2][1], kept)  # copies, not views


def test_parameters_are_live_and_settable(make):
    driver = make(INPUT + BODY)
    parameters = driver.parameters(["ip", "relu"])
    assert {name: values.shape for name, values in parameters.items()} == {
        "ip.0": (4, 12), "ip.1": (4,),
    }  # fmt: skip
    new = np.random.randn(4, 12).astype(np.float32)
    driver.set_parameters({"ip.0": new})
    np.testing.assert_array_equal(driver.parameters(["ip"])["ip.0"], new)
    np.testing.assert_array_equal(parameters["ip.0"], new)


def test_layer_names_with_dots(make):
    driver = make((INPUT + BODY).replace('name: "ip"', 'name: "block1.ip"'))
    name = "block1.ip.1"
    driver.set_parameters({name: np.arange(4)})
    np.testing.assert_array_equal(driver.parameters(["block1.ip"])[name], np.arange(4))
