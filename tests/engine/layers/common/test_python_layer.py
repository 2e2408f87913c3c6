"""Layers that users write."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

import dualnet.engine
from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.common.python import PythonLayer
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN


class TenTimes(PythonLayer):
    """y = 10 x, with attributes that must not confuse the net."""

    def setup(self, bottom, top):
        self.param, self.name, self.tops = self.param_str, "mine", None
        self.calls = []

    def reshape(self, bottom, top):
        self.calls.append("reshape")
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        self.calls.append("forward")
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class Offset(PythonLayer):
    """y = x + a learned scalar."""

    def setup(self, bottom, top):
        self.blobs.add_blob()
        self.blobs[0].data[...] = 3

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += top[0].diff.sum()
        bottom[0].diff[...] = top[0].diff


class Loss(PythonLayer):
    """Half the squared distance; the gradient takes the loss weight."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise KeyError("two bottoms")

    def reshape(self, bottom, top):
        top[0].reshape(1)
        self.difference = np.zeros_like(bottom[0].data)

    def forward(self, bottom, top):
        self.difference[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = (self.difference**2).sum() / 2

    def backward(self, top, propagate_down, bottom):
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * top[0].diff[0] * self.difference


class Phase(PythonLayer):
    """The phase as data."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class NoInit(PythonLayer):
    """Forgets super().__init__."""

    def __init__(self, *args):
        pass


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Builds a net whose Python layers live in module `users`."""
    users = ModuleType("users")
    for cls in (TenTimes, Offset, Loss, Phase, NoInit):
        setattr(users, cls.__name__, cls)
    users.Plain = dict
    monkeypatch.setitem(sys.modules, "users", users)

    def build(text, phase=TRAIN):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return Net(path, phase)

    return build


INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


def python(name, cls, bottom="x", more=""):
    bottoms = "".join(f' bottom: "{b}"' for b in bottom.split())
    return (
        f'layer {{ name: "{name}" type: "Python"{bottoms} top: "{name}" {more} '
        f'python_param {{ module: "users" layer: "{cls}" param_str: "some text" }} }}\n'
    )


def test_forward_backward_through_a_chain(make):
    net = make(
        "force_backward: true\n" + INPUT + python("a", "TenTimes") + python("b", "TenTimes", "a")
    )
    x = np.random.randn(2, 3).astype(np.float32)
    np.testing.assert_allclose(net.forward(x=x)["b"], 100 * x, rtol=1e-6)
    np.testing.assert_allclose(net.backward(b=x)["x"], 100 * x, rtol=1e-6)
    layer = net.layer_dict["a"]
    assert layer.param == "some text" and layer.type == "Python"
    assert layer.calls == ["reshape", "reshape", "forward"]


def test_parameters_are_learnable_and_stored(make, tmp_path):
    net = make("force_backward: true\n" + INPUT + python("a", "Offset"))
    assert net.params["a"][0].data.shape == ()
    net.forward(), net.backward(a=np.ones((2, 3)))
    assert net.params["a"][0].diff == 6
    net.params["a"][0].data[...] = 8
    net.save(tmp_path / "w")
    other = make(INPUT + python("a", "Offset"))
    other.copy_from(tmp_path / "w")
    assert other.params["a"][0].data == 8


def test_a_loss_needs_its_weight(make):
    text = INPUT + python("a", "Offset") + python("l", "Loss", "a x", "loss_weight: 2")
    net = make(text)
    assert net._forward(0, 3) == pytest.approx(2 * 9 * 6 / 2)
    net._backward(3, 0)
    np.testing.assert_allclose(net.params["a"][0].diff, 2 * 3 * 6)
    without = make(text.replace("loss_weight: 2", ""))
    without.forward(), without.backward()
    assert without.params["a"][0].diff == 0


def test_exceptions_reach_the_caller(make):
    with pytest.raises(KeyError, match="two bottoms"):
        make(INPUT + python("l", "Loss"))


def test_phase(make):
    for phase in (TRAIN, TEST):
        net = make(INPUT + python("p", "Phase"), phase)
        assert net.forward()["p"] == phase


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"users"', '"nowhere"', "'nowhere' is not found"),
        ('"users"', '""', "module '' is no name of a module; write that of a file NAME.py"),
        ('"users"', '"."', "module '.' is no name of a module"),
        ('"users"', '"..up"', "module '..up' is no name of a module"),
        ('"users"', '"users.py.."', "is no name of a module"),
        ('"users"', '"a/b"', "module 'a/b' is no name of a module"),
        ('"users"', '"a\\0b"', "is no name of a module"),
        ('"TenTimes"', '"Missing"', "no class of that name"),
        ('"TenTimes"', '"Plain"', "derives from caffe.Layer"),
        ('"TenTimes"', '"NoInit"', "does not call"),
    ],
)
def test_bad_modules_and_classes(make, old, new, message):
    with pytest.raises(PrototxtError, match=message):
        make(INPUT + python("a", "TenTimes").replace(old, new))


def test_users_find_the_engine_as_caffe():
    caffe = dualnet.engine.register()
    import caffe as imported  # the registered one
    from caffe.proto import caffe_pb2  # noqa: F401

    assert imported is caffe and caffe.Layer is PythonLayer
    assert caffe.TRAIN == 0 and caffe.TEST == 1
