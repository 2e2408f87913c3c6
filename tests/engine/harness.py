"""Builds a single layer for a test: bottoms from arrays, a message from prototxt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dualnet.engine.core.blob import Blob
from dualnet.engine.formats import prototxt
from dualnet.engine.layers.registry import layer_class
from dualnet.engine.net.node import Node
from dualnet.engine.proto import caffe_pb2

__all__ = ["Rig", "make_layer"]


class Rig:
    """A layer with its blobs.

    Args:
        text: the inside of a `layer { … }`, without name, bottoms and tops.
        arrays: one array a bottom.
        tops: how many tops.
        in_place: whether top 0 is bottom 0.
        phase: `caffe_pb2.TRAIN` or `TEST`.
    """

    def __init__(
        self,
        text: str,
        arrays: Sequence[np.ndarray],
        tops: int = 1,
        in_place: bool = False,
        phase: int = caffe_pb2.TRAIN,
    ) -> None:
        param = prototxt.parse_text(text, caffe_pb2.LayerParameter, "test")
        param.name, param.phase = "layer", phase
        self.bottom = [Blob(a.shape) for a in arrays]
        for blob, array in zip(self.bottom, arrays):
            blob.data[...] = array
        self.top = [Blob() for _ in range(tops)]
        if in_place:
            self.top[0] = self.bottom[0]
        self.layer = layer_class(param.type, "layer").create(param)
        self.node = Node("layer", param, self.layer, self.bottom, self.top)
        with torch.no_grad():
            self.node.setup()
        self.layer.param_propagate_down = [True] * len(self.layer.blobs)

    def forward(self) -> list[np.ndarray]:
        """Runs forward and returns copies of the tops."""
        with torch.no_grad():
            self.node.forward()
        return [blob.data.copy() for blob in self.top]

    def backward(
        self, *top_diffs: np.ndarray, down: Sequence[bool] | None = None
    ) -> list[np.ndarray]:
        """Runs backward from these top diffs (none: as they are) and returns the bottoms' diffs."""
        for blob, diff in zip(self.top, top_diffs):
            blob.diff[...] = diff
        with torch.no_grad():
            self.layer.backward(self.top, list(down or [True] * len(self.bottom)), self.bottom)
        return [blob.diff.copy() for blob in self.bottom]


def make_layer(text: str, *arrays: np.ndarray, **settings: object) -> Rig:
    """Builds a `Rig`; see its arguments."""
    return Rig(text, arrays, **settings)  # type: ignore[arg-type]
