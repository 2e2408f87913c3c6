"""What all methods train on: random images in an LMDB, read by the engine's Data layer.

dualnet's first piece and PyTorch's first stage read the same records through the same layer, which
decodes, subtracts the mean and scales. Labels travel with the activations in dualnet; PyTorch's
last stage has them in memory from the start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualnet.cut.graph import batch_size_of, included_layers, read_net, set_batch_size
from dualnet.data.databases.lmdb import write_lmdb
from dualnet.data.mean import write_mean

__all__ = ["NET", "Input", "make_input"]

#: The single net, whose plain copy is dualnet/engine/bench/plain.py.
NET = "prototxt/cifar10/single_train_test.prototxt"
IMAGES, CLASSES, SHAPE = 2048, 10, (3, 32, 32)


@dataclass(frozen=True)
class Input:
    """What a stage of PyTorch's pipeline gets.

    Attributes:
        net: A prototxt of the single net's training Data layer alone.
        labels: An `.npy` file of all labels, in the order of the records.
    """

    net: str
    labels: str


def make_input(folder: str, batch: int) -> Input:
    """Make `data/cifar10` in a folder, with the nets that read it beside it.

    Args:
        folder: A new one; from there the shipped nets find their data.
        batch: Images of a batch.
    """
    data = Path(folder) / "data" / "cifar10"
    data.mkdir(parents=True)
    root = Path(__file__).resolve().parents[3]
    os.symlink(root / "prototxt", Path(folder) / "prototxt")
    draw = np.random.RandomState(1)
    images = draw.randint(256, size=(IMAGES, *SHAPE)).astype(np.uint8)
    labels = draw.randint(CLASSES, size=IMAGES)
    for name in ("train_lmdb", "test_lmdb"):
        write_lmdb(data / name, images, labels)
    write_mean(data / "mean.binaryproto", images.mean(axis=0, dtype=np.float64))
    np.save(data / "labels.npy", labels)
    net = read_net(str(root / NET))
    train = [net.layer[place] for place in included_layers(net, "TRAIN", NET)]
    for layer in [layer for layer in net.layer if layer not in train or not batch_size_of(layer)]:
        net.layer.remove(layer)
    for layer in net.layer:
        set_batch_size(layer, batch)
    path = Path(folder) / "data.prototxt"
    path.write_text(str(net), encoding="ascii")
    return Input(str(path), str(data / "labels.npy"))
