"""The two update rules: (7.1) to the bit, and Caffe's own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dualnet.backend import caffe
from dualnet.config import Update
from dualnet.errors import ConfigError
from dualnet.training.loop.activations import make_activation_store
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.late_momentum import LateMomentum
from dualnet.training.net.update import ManualUpdate, SolverUpdate, make_update
from tests.training.pieces import load, make_nets, weights_of

SHARED = """
layer {{ name: "data" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "h" {param}
  inner_product_param {{ num_output: 3 bias_term: false weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "b" type: "InnerProduct" bottom: "h" top: "y" {param} loss_weight: 1
  inner_product_param {{ num_output: 3 bias_term: false weight_filler {{ type: "xavier" }} }} }}
"""


def run_backward(nets, times=1):
    for _ in range(times):
        nets.train.forward()
        nets.train.backward()
    layers = list(nets.train.net.params)
    return {f"{layer}.{i}": np.array(nets.train.net.params[layer][i].diff)
            for layer in layers for i in range(2)}  # fmt: skip


def test_manual_update_is_equation_7_1(workdir):
    nets = make_nets("single", "run", "update.rule=manual", "update.learning_rate=0.3")
    before, diffs = weights_of(nets), run_backward(nets)
    nets.update()
    for name, values in weights_of(nets).items():
        np.testing.assert_array_equal(values, before[name] - np.float32(0.3) * diffs[name], name)
    assert any(diff.any() for diff in diffs.values())


def test_manual_update_knows_neither_momentum_nor_decay_nor_policy(workdir):
    nets = make_nets("single", "run", "update.rule=manual", "update.learning_rate=0.3")
    assert nets.resolved.solver.momentum and nets.resolved.solver.weight_decay
    for iteration in range(2):
        assert nets.update_rule.rate() == pytest.approx(0.3), iteration
        before, diffs = weights_of(nets), run_backward(nets)
        nets.update()
        after = weights_of(nets)["conv1.0"]
        np.testing.assert_array_equal(after, before["conv1.0"] - np.float32(0.3) * diffs["conv1.0"])


def test_manual_update_heeds_lr_mult(workdir):
    text = (workdir / "prototxt/digits/single_train_test.prototxt").read_text()
    text = text.replace(
        'top: "conv1"\n  convolution_param',
        'top: "conv1"\n  param { lr_mult: 0 }\n  param { lr_mult: 2 }\n  convolution_param',
    )
    (workdir / "net.prototxt").write_text(text)
    solver = (workdir / "prototxt/digits/single_solver.prototxt").read_text()
    (workdir / "solver.prototxt").write_text(
        solver.replace("prototxt/digits/single_train_test.prototxt", "net.prototxt")
    )
    nets = make_nets("single", "run", "update.rule=manual", "update.learning_rate=0.3",
                     "single.solver=solver.prototxt")  # fmt: skip
    before, diffs = weights_of(nets), run_backward(nets)
    nets.update()
    after = weights_of(nets)
    np.testing.assert_array_equal(after["conv1.0"], before["conv1.0"])
    assert diffs["conv1.1"].any()
    for name, rate in (("conv1.1", 0.6), ("conv2.0", 0.3), ("conv2.1", 0.3)):
        expected = before[name] - np.float32(rate) * diffs[name]
        np.testing.assert_allclose(after[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_manual_update_takes_the_mean_of_accumulated_batches(workdir):
    nets = make_nets("single", "run", "update.rule=manual", "update.learning_rate=0.3")
    rule = ManualUpdate(0.3, {}, iter_size=4)
    before, diffs = weights_of(nets), run_backward(nets, times=4)
    rule.apply(nets.train)
    after = weights_of(nets)["ip1.0"]
    expected = before["ip1.0"] - 0.3 * diffs["ip1.0"] / 4
    np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("is_shared", [True, False])
def test_shared_parameters_change_once(tmp_path, is_shared):
    path = tmp_path / "net.prototxt"
    path.write_text(SHARED.format(param='param { name: "w" }' if is_shared else ""))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["x"].data[...] = np.random.randn(2, 3)
    net._forward(0, len(net.layers) - 1)
    net._backward(len(net.layers) - 1, 0)
    layers = ("a", "b")
    before = {layer: np.array(net.params[layer][0].data) for layer in layers}
    diffs = {layer: np.array(net.params[layer][0].diff) for layer in layers}
    assert np.array_equal(before["a"], before["b"]) == is_shared
    driver = NetDriver(net, str(path))
    ManualUpdate(0.5, {}).apply(driver)
    for layer in layers:
        expected = before[layer] - np.float32(0.5) * diffs[layer]
        np.testing.assert_array_equal(net.params[layer][0].data, expected)
        assert diffs[layer].any()


def test_solver_update_is_momentum_decay_and_policy(workdir):
    nets = make_nets("single", "run", "train.max_iter=10", "update.learning_rate=0.3")
    history = {name: 0 * values for name, values in weights_of(nets).items()}
    for iteration in range(3):
        rate = 0.3 * (1 - iteration / 10)  # poly with power 1
        assert nets.update_rule.rate() == pytest.approx(rate)
        before, diffs = weights_of(nets), run_backward(nets)
        nets.update()
        for name, values in weights_of(nets).items():
            gradient = diffs[name] + 0.0005 * before[name]
            history[name] = 0.9 * history[name] + rate * gradient
            np.testing.assert_allclose(
                values, before[name] - history[name], rtol=1e-5, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("rule", ["manual", "solver"])
def test_update_leaves_no_diffs_behind(workdir, rule):
    nets = make_nets("single", "run", f"update.rule={rule}")
    run_backward(nets)
    nets.update()
    for blobs in nets.train.net.params.values():
        for blob in blobs:
            assert not blob.diff.any()


@pytest.mark.parametrize("rule", ["manual", "solver", "late"])
def test_gradients_may_stand_in_another_net_with_the_same_weights(workdir, rule):
    settings = (
        "train.schedule=overlapped", "train.staleness=1", "train.stale_activations=keep",
        f"update.rule={'manual' if rule == 'manual' else 'solver'}",
        f"train.stale_momentum={'interleaved' if rule == 'late' else 'solver'}",
    )  # fmt: skip
    after = []
    for is_held_apart in (False, True):
        nets = make_nets("net1", f"run-{is_held_apart}", *settings)
        assert isinstance(nets.update_rule, LateMomentum) == (rule == "late")
        ahead = nets.config.batches_ahead(nets.name)
        holder = make_activation_store(nets, ahead).copies[1] if is_held_apart else nets.train
        random = np.random.RandomState(5)
        before = weights_of(nets)
        for _ in range(4):
            gradients = {n: random.randn(*w.shape).astype(np.float32) for n, w in before.items()}
            holder.set_parameter_diffs(gradients)
            nets.update(holder)
            for net in (nets.train, holder):
                assert not any(diff.any() for diff in net.parameter_diffs().values())
        after.append(weights_of(nets))
        assert all((after[-1][name] != values).any() for name, values in before.items())
    for name, values in after[0].items():
        np.testing.assert_array_equal(after[1][name], values, name)


def test_rule_is_chosen_by_the_config(workdir):
    assert isinstance(make_nets("single", "a", "update.rule=manual").update_rule, ManualUpdate)
    assert isinstance(make_nets("single", "b", "update.rule=solver").update_rule, SolverUpdate)
    assert load().update.rule == "solver"


@pytest.mark.parametrize(
    ("ascend", "signs"), [("false", (1, 1)), ("true", (-1, -1)), ("net1", (-1, 1))]
)
def test_who_goes_uphill(workdir, ascend, signs):
    settings = ("update.rule=manual", f"update.ascend={ascend}")
    pieces = [make_nets(name, name, *settings) for name in ("net1", "net2")]
    assert tuple(nets.update_rule.sign for nets in pieces) == signs


def test_solver_of_an_old_caffe_is_refused():
    with pytest.raises(ConfigError, match=r"update\.rule: solver needs apply_update.*use manual"):
        make_update(Update(rule="solver"), None, SimpleNamespace(), None)
