"""The nets that are timed, as prototxt: inputs that the caller fills instead of a database."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dualnet.engine.errors import UnknownNameError, quoted
from dualnet.engine.formats import prototxt
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe.net_spec import NetSpec, Top
from dualnet.engine.pycaffe.net_spec import layers as L
from dualnet.engine.pycaffe.net_spec import params as P

__all__ = ["NETS", "Case", "caffenet", "case", "cifar10", "write_solver"]

CIFAR10_PROTOTXT = "prototxt/cifar10/single_train_test.prototxt"


@dataclass(frozen=True)
class Case:
    """One net at one batch size.

    Attributes:
        name: `cifar10` or `caffenet`.
        batch: images a training step.
        image: (C, H, W).
        classes: how many labels there are.
    """

    name: str
    batch: int
    image: tuple[int, int, int]
    classes: int


NETS = {
    "cifar10": Case("cifar10", 256, (3, 32, 32), 10),
    "caffenet": Case("caffenet", 16, (3, 227, 227), 1000),
}


def case(name: str) -> Case:
    """The net of a name.

    Raises:
        UnknownNameError: lists the names that exist.
    """
    if name not in NETS:
        raise UnknownNameError(f"no net '{name}' to time; there are: {quoted(NETS)}")
    return NETS[name]


def cifar10(batch: int, path: str = CIFAR10_PROTOTXT) -> caffe_pb2.NetParameter:
    """The shipped single net, its Data layers replaced by inputs.

    Args:
        batch: images a step.
        path: its prototxt.

    Raises:
        PrototxtError: the file is missing or wrong.
    """
    shipped = prototxt.read_net(path)
    net = _inputs(batch, (3, 32, 32)).to_proto()
    net.name = shipped.name
    for layer in shipped.layer:
        phases = {rule.phase for rule in layer.include}
        if layer.type != "Data" and phases <= {caffe_pb2.TRAIN}:
            net.layer.add().CopyFrom(layer)
    return net


def caffenet(batch: int, image_px: int = 227, classes: int = 1000) -> caffe_pb2.NetParameter:
    """CaffeNet, the reference model of Caffe (`models/bvlc_reference_caffenet`).

    Args:
        batch: images a step.
        image_px: height and width of an image; 227 is the model's own, 67 the least.
        classes: values of the last layer.
    """
    net = _inputs(batch, (3, image_px, image_px))
    x = _convolved(net, "1", net.data, num_output=96, kernel_size=11, stride=4)
    x = _normalised(net, "1", _pooled(net, "1", x))
    x = _convolved(net, "2", x, num_output=256, kernel_size=5, pad=2, group=2)
    x = _normalised(net, "2", _pooled(net, "2", x))
    x = _convolved(net, "3", x, num_output=384, kernel_size=3, pad=1)
    x = _convolved(net, "4", x, num_output=384, kernel_size=3, pad=1, group=2)
    x = _convolved(net, "5", x, num_output=256, kernel_size=3, pad=1, group=2)
    x = _pooled(net, "5", x)
    for number in ("6", "7"):
        x = net[f"fc{number}"] = L.InnerProduct(x, num_output=4096, **_filled(0.005))
        net[f"relu{number}"] = L.ReLU(x, in_place=True)
        net[f"drop{number}"] = L.Dropout(x, dropout_ratio=0.5, in_place=True)
    net.fc8 = L.InnerProduct(x, num_output=classes, **_filled(0.01))
    net.loss = L.SoftmaxWithLoss(net.fc8, net.label)
    result = net.to_proto()
    result.name = "caffenet"
    return result


def write_solver(chosen: Case, folder: str) -> str:
    """Writes a net and its solver, momentum SGD without displays, tests and snapshots.

    Args:
        chosen: the net.
        folder: where to.

    Returns:
        The solver's path.
    """
    net_path = os.path.join(folder, f"{chosen.name}.prototxt")
    with open(net_path, "w", encoding="utf-8") as stream:
        net = cifar10 if chosen.name == "cifar10" else caffenet
        stream.write(str(net(chosen.batch)))
    # plain_trainer.py has the same settings.
    solver = caffe_pb2.SolverParameter(
        net=net_path, base_lr=0.001, lr_policy="fixed", momentum=0.9, weight_decay=0.0005,
        random_seed=1, solver_mode=caffe_pb2.SolverParameter.CPU,
    )  # fmt: skip
    path = os.path.join(folder, f"{chosen.name}_solver.prototxt")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(str(solver))
    return path


def _inputs(batch: int, image: tuple[int, int, int]) -> NetSpec:
    net = NetSpec()
    net.data = L.Input(shape=_shape(batch, *image))
    net.label = L.Input(shape=_shape(batch))
    return net


def _shape(*dims: int) -> list[dict[str, list[int]]]:
    """Settings of a layer's `shape`."""
    return [{"dim": list(dims)}]


def _filled(std: float) -> dict[str, dict[str, object]]:
    return {"weight_filler": {"type": "gaussian", "std": std}}


def _convolved(net: NetSpec, number: str, x: Top, **settings: int) -> Top:
    top = net[f"conv{number}"] = L.Convolution(x, **settings, **_filled(0.01))
    net[f"relu{number}"] = L.ReLU(top, in_place=True)
    return top


def _pooled(net: NetSpec, number: str, x: Top) -> Top:
    top = net[f"pool{number}"] = L.Pooling(x, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    return top


def _normalised(net: NetSpec, number: str, x: Top) -> Top:
    top = net[f"norm{number}"] = L.LRN(x, local_size=5, alpha=1e-4, beta=0.75)
    return top
