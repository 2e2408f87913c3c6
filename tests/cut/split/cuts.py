"""The nets that scripts/compare_cuts.py splits, and what it does with each of their cuts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from dualnet import config as cfg
from dualnet.backend import caffe
from dualnet.cut.graph import NetGraph, read_net, read_solver
from dualnet.cut.prototxt import format_fields
from dualnet.cut.split import Request, split, write
from dualnet.cut.split.section import has_loss
from dualnet.data.databases.lmdb import write_lmdb
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir
from dualnet.training.outcome.evaluate import evaluate
from dualnet.training.outcome.merge import merge
from tests.cut.both import Reference, train_from_last_bits, train_like, train_single
from tests.data.loading import load_lmdb

__all__ = ["NETS", "TOLERANCE", "Net", "prepare", "run_net"]

TOLERANCE = 1e-4
ITERATIONS, COMPARED_AT, TEST_BATCHES = 20, 10, 2


@dataclass(frozen=True)
class Net:
    """A net and its cuts.

    Attributes:
        path: Its train_test prototxt; relative to Caffe's folder for Caffe's own.
        solver: Its solver prototxt.
        rate: The learning rate.
        cuts: (cut blobs, dual layers); none: every blob of a chain, with its first reader.
        is_caffes: Whether Caffe's distribution has it.
        image: (C, H, W) of the images made for it; None: it has its own data.
        batch: Samples a batch.
    """

    path: str
    solver: str
    rate: float
    cuts: Sequence[tuple[str, str]] = ()
    is_caffes: bool = True
    image: Optional[tuple[int, int, int]] = None
    batch: int = 16


NETS = {
    "thesis, CIFAR-10": Net(
        "prototxt/cifar10/single_train_test.prototxt", "prototxt/cifar10/single_solver.prototxt",
        0.01, is_caffes=False,
    ),
    "thesis, digits": Net(
        "prototxt/digits/single_train_test.prototxt", "prototxt/digits/single_solver.prototxt",
        0.01, is_caffes=False,
    ),
    "ResNet-18": Net(
        "tests/cut/nets/resnet18_train_test.prototxt", "tests/cut/nets/resnet18_solver.prototxt",
        0.00005,
        (
            ("conv1", "res2a_conv1"),
            ("res3a_conv1", "res3a_conv2 res3a_conv2_bn res3a_conv2_scale"),
            ("res3a", "res3b_conv1 res3b_conv1_bn res3b_conv1_scale"),
            ("res4a_conv1", "res4a_conv2"),
            ("res4b", "res5a_shortcut res5a_conv1"),
        ),
        is_caffes=False, image=(3, 16, 16), batch=8,
    ),
    "LeNet": Net(
        "examples/mnist/lenet_train_test.prototxt", "examples/mnist/lenet_solver.prototxt", 0.001,
        image=(1, 28, 28),
    ),
    "cifar10_quick": Net(
        "examples/cifar10/cifar10_quick_train_test.prototxt",
        "examples/cifar10/cifar10_quick_solver.prototxt", 0.001, image=(3, 32, 32),
    ),
    "cifar10_full": Net(
        "examples/cifar10/cifar10_full_train_test.prototxt",
        "examples/cifar10/cifar10_full_solver.prototxt", 0.001, image=(3, 32, 32),
    ),
    "CaffeNet": Net(
        "models/bvlc_reference_caffenet/train_val.prototxt",
        "models/bvlc_reference_caffenet/solver.prototxt", 0.0001,
        (("norm1", "conv2"), ("norm2", "conv3"), ("conv4", "conv5")), image=(3, 99, 99), batch=2,
    ),
    "AlexNet": Net(
        "models/bvlc_alexnet/train_val.prototxt", "models/bvlc_alexnet/solver.prototxt", 0.0001,
        (("conv1", "norm1"), ("pool1", "conv2"), ("conv3", "conv4 relu4")),
        image=(3, 99, 99), batch=2,
    ),
    "GoogLeNet": Net(
        "models/bvlc_googlenet/train_val.prototxt", "models/bvlc_googlenet/quick_solver.prototxt",
        0.0001,
        (
            ("pool2/3x3_s2", "inception_3a/3x3_reduce"),
            ("inception_4a/3x3_reduce", "inception_4a/3x3"),
            ("inception_4e/output", "pool4/3x3_s2"),
        ),
        image=(3, 128, 128), batch=2,
    ),
}  # fmt: skip


def run_net(net: Net, scratch: str, caffe_dir: Optional[Path]) -> Iterator[dict[str, Any]]:
    """Split a net at all of its cuts; yields a row of the table for each."""
    path = prepare(net, scratch, caffe_dir)
    settings = [
        f"update.learning_rate={net.rate}",
        f"train.batch_size={net.batch}",
        "train.test_iter=1",
    ]
    reference: Optional[Reference] = None
    noise = 0.0
    for number, (at, dual) in enumerate(net.cuts or _cuts_of_chain(path)):
        folder = os.path.join(scratch, f"cut{number}")
        request = Request(path, [(at.split(), dual.split())], folder)
        try:
            result = split(request)
        except ConfigError:
            if net.cuts:
                raise
            continue  # of a chain's blobs, those that nothing learns below
        write(request, result)
        if reference is None:
            single = os.path.join(scratch, "single")
            reference = train_single(result.yaml, single, ITERATIONS, COMPARED_AT, *settings)
            changed = os.path.join(scratch, "changed")
            noise = train_from_last_bits(
                reference, result.yaml, changed, ITERATIONS, COMPARED_AT, *settings
            )
        run_dir = os.path.join(folder, "run")
        outcome = train_like(
            reference, result.yaml, run_dir, ITERATIONS, COMPARED_AT, *settings
        )  # fmt: skip
        cut = cfg.load(result.yaml).cuts[0]
        pairs = zip(outcome.losses[:COMPARED_AT], outcome.dual_losses)
        net1 = NetGraph(read_net(f"{folder}/net1_train_test.prototxt"), "TRAIN", "")
        is_all_in_net2 = sum(map(has_loss, net1.layers)) == max(len(cut.compared), 1)
        yield {
            "rate": net.rate,
            "blobs": ", ".join(cut.blobs),
            "dual": ", ".join(cut.dual),
            "compared": ", ".join(cut.compared or [str(_output(net1, cut))]),
            "weights": outcome.weight,
            "way": outcome.step,
            "noise": noise,
            "loss": max(abs(a - b) / abs(a) for a, b in pairs) if is_all_in_net2 else None,
            "merged": _merged(cfg.load(result.yaml, settings), run_dir),
        }


def _output(net1: NetGraph, cut: Any) -> str:
    return str(net1.layer(list(cut.dual)[-1], "").top[0])


def _merged(config: cfg.Config, run_dir: str) -> str:
    """Whether the merged net gives the outputs that the pieces give."""
    expected = evaluate(RunDir(run_dir), config, batches=TEST_BATCHES)
    model, prototxt, _ = merge(RunDir(run_dir), config, os.path.join(run_dir, "merged.caffemodel"))
    net = caffe.Net(prototxt, caffe.TEST, weights=model)
    sums: dict[str, float] = {}
    for _ in range(TEST_BATCHES):
        for name, values in net.forward().items():
            sums[name] = sums.get(name, 0.0) + float(values.mean()) / TEST_BATCHES
    shared = [name for name in sums if name in expected]
    worst = max(abs(sums[name] - expected[name]) for name in shared)
    return "equal" if worst == 0 else f"{worst:.0e} apart"


def _cuts_of_chain(path: str) -> list[tuple[str, str]]:
    """Every blob of training, and the first layer that reads it after all in-place layers."""
    graph = NetGraph(read_net(path), "TRAIN", path)
    cuts = []
    for blob, readers in graph.consumers.items():
        last = graph.producers[blob][-1]
        after = [one for one in readers if graph.place(one) > graph.place(last)]
        if after and not has_loss(after[0]) and after[0].type != "Accuracy":
            cuts.append((blob, after[0].name))
    return cuts


def prepare(net: Net, scratch: str, caffe_dir: Optional[Path]) -> str:
    """A copy of the net that can be trained here; returns its path."""
    folder = Path(scratch) / "net"
    folder.mkdir()
    source = (caffe_dir or Path(".")) if net.is_caffes else Path(".")
    message = read_net(str(source / net.path))
    if net.image is not None:
        _write_images(str(folder / "lmdb"), net.image)
    for layer in message.layer:
        if layer.type == "Dropout":
            layer.dropout_param.dropout_ratio = 0
        if layer.type == "Pooling" and layer.pooling_param.kernel_size == 7:
            # GoogLeNet's last, over all that is left: less than 7x7 of a smaller image.
            layer.pooling_param.ClearField("kernel_size")
            layer.pooling_param.ClearField("stride")
            layer.pooling_param.global_pooling = True
        if layer.type == "Data" and net.image is not None:
            layer.data_param.source = str(folder / "lmdb")
            layer.ClearField("transform_param")
            layer.transform_param.scale = 1 / 128
            layer.transform_param.mean_value.append(128)
    for layer in message.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = net.batch
    path = folder / "single_train_test.prototxt"
    path.write_text(format_fields(message))
    solver = read_solver(str(source / net.solver))
    solver.net = str(path)
    del solver.test_iter[:]
    solver.test_iter.append(1)
    solver.clip_gradients = -1
    (folder / "single_solver.prototxt").write_text(format_fields(solver))
    return str(path)


def _write_images(path: str, shape: tuple[int, int, int]) -> None:
    """64 images of CIFAR-10, made as large as a net wants them."""
    images, labels = load_lmdb("data/cifar10/test_lmdb")
    channels, height, width = shape
    rows = np.arange(height) * images.shape[2] // height
    columns = np.arange(width) * images.shape[3] // width
    chosen = images[:64, :channels][:, :, rows][:, :, :, columns]
    write_lmdb(path, np.ascontiguousarray(chosen), labels[:64])
