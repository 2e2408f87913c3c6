"""A net in training with its solver: device, seeds, test net."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.errors import ConfigError
from dualnet.training.net import nets as module
from tests.training.pieces import make_nets, weights_of


class Recorder:
    """Takes down how a device is chosen, in place of pycaffe."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", [("set_mode_cpu",)]),
        # The device first: set_mode_gpu would otherwise open the default one.
        (1, [("set_device", 1), ("set_mode_gpu",)]),
    ],
)
def test_device_is_chosen_through_pycaffe(monkeypatch, device, expected):
    recorder = Recorder()
    monkeypatch.setattr(module, "caffe", recorder)
    module._use_device(device)
    assert recorder.calls == expected


def test_seed_decides_the_initial_weights(workdir):
    one, same, other = (weights_of(make_nets("single", name, f"seed={seed}"))
                        for name, seed in (("a", 1), ("b", 1), ("c", 2)))  # fmt: skip
    np.testing.assert_array_equal(one["conv1.0"], same["conv1.0"])
    assert not np.array_equal(one["conv1.0"], other["conv1.0"])


def test_dropout_repeats_with_seed_and_iteration(workdir):
    text = (workdir / "prototxt/digits/single_train_test.prototxt").read_text()
    text += 'layer { name: "drop" type: "Dropout" bottom: "ip1" top: "drop" }'
    (workdir / "net.prototxt").write_text(text)
    solver = (workdir / "prototxt/digits/single_solver.prototxt").read_text()
    (workdir / "solver.prototxt").write_text(
        solver.replace("prototxt/digits/single_train_test.prototxt", "net.prototxt")
    )
    nets = make_nets("single", "run", "single.solver=solver.prototxt", "train.batch_size=64")
    nets.train.forward()
    masks = []
    for iteration in (3, 4, 3):
        nets.seed(iteration)
        nets.train.forward("drop", "drop")
        masks.append(nets.train.data("drop") != 0)
    assert np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[1])


def test_test_net_follows_the_weights_in_training(workdir):
    nets = make_nets("single", "run")
    nets.share_weights()
    nets.train.set_parameters({"conv1.0": np.full((16, 1, 3, 3), 0.25)})
    assert (nets.test.parameters(["conv1"])["conv1.0"] == 0.25).all()


def test_solver_without_tests_has_no_test_net(workdir):
    (workdir / "solver.prototxt").write_text(
        'net: "prototxt/digits/single_train_test.prototxt" max_iter: 5 base_lr: 1 '
        'lr_policy: "fixed"'
    )
    nets = make_nets("single", "run", "single.solver=solver.prototxt")
    with pytest.raises(ConfigError, match="solver.prototxt: no test_iter"):
        nets.share_weights()
