"""The nets that are timed, written by hand in plain PyTorch, as its users write them.

Modules carry the names of Caffe's layers, so that weights and times can be compared by name.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = ["build", "caffenet", "cifar10"]


class Flatten(nn.Module):
    """(N, C, H, W) to (N, C * H * W), in Caffe's order whatever the strides."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def cifar10() -> nn.Sequential:
    """prototxt/cifar10/single_train_test.prototxt: (N, 3, 32, 32) to (N, 10)."""
    return _net(
        conv1=nn.Conv2d(3, 32, 5, padding=2),
        relu1=nn.ReLU(inplace=True),
        pool1=_pool(),
        conv2=nn.Conv2d(32, 32, 5, padding=2),
        relu2=nn.ReLU(inplace=True),
        pool2=_pool(),
        conv3=nn.Conv2d(32, 64, 3, padding=1),
        relu3=nn.ReLU(),  # not in place: in the prototxt conv3 keeps its values for the dual nets
        conv4=nn.Conv2d(64, 64, 3, padding=1),
        relu4=nn.ReLU(inplace=True),
        pool4=_pool(),
        flatten=Flatten(),
        ip1=nn.Linear(64 * 4 * 4, 64),
        relu5=nn.ReLU(inplace=True),
        ip2=nn.Linear(64, 10),
    )


def caffenet(image_px: int = 227, classes: int = 1000) -> nn.Sequential:
    """CaffeNet: (N, 3, image_px, image_px) to (N, classes)."""
    side = (image_px - 11) // 4 + 1
    for _ in range(3):
        side = -(-(side - 3) // 2) + 1
    return _net(
        conv1=nn.Conv2d(3, 96, 11, stride=4),
        relu1=nn.ReLU(inplace=True),
        pool1=_pool(),
        norm1=nn.LocalResponseNorm(5),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
        relu2=nn.ReLU(inplace=True),
        pool2=_pool(),
        norm2=nn.LocalResponseNorm(5),
        conv3=nn.Conv2d(256, 384, 3, padding=1),
        relu3=nn.ReLU(inplace=True),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
        relu4=nn.ReLU(inplace=True),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
        relu5=nn.ReLU(inplace=True),
        pool5=_pool(),
        flatten=Flatten(),
        fc6=nn.Linear(256 * side * side, 4096),
        relu6=nn.ReLU(inplace=True),
        drop6=nn.Dropout(0.5),
        fc7=nn.Linear(4096, 4096),
        relu7=nn.ReLU(inplace=True),
        drop7=nn.Dropout(0.5),
        fc8=nn.Linear(4096, classes),
    )


def build(name: str) -> nn.Sequential:
    """The net of a name, channels-last."""
    net = cifar10() if name == "cifar10" else caffenet()
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _net(**stages: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(stages))
