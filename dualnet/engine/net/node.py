"""One layer in its place in a net: what it reads and writes, and what of it runs backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import CaffeError, GraphError
from dualnet.engine.layers.base import Layer
from dualnet.engine.proto import caffe_pb2

__all__ = ["Node", "ParamEntry"]


@dataclass
class ParamEntry:
    """A learnable blob with its learning-rate and decay multipliers.

    Attributes:
        blob: the blob.
        spec: the settings of the layer that owns it.
        layer_name: that layer.
        index: its position among the layer's parameters.
        owner: the id of the parameter whose memory this one shares, or its own id.
        learnable_id: its place among the parameters that own their memory.
    """

    blob: Blob
    spec: caffe_pb2.ParamSpec
    layer_name: str
    index: int
    owner: int
    learnable_id: int = -1


@dataclass
class Node:
    """A layer, its blobs, and the results of the net's analysis.

    The net reads names and settings from here and never from the layer object, because a user's
    Python layer may give its own attributes any name.
    """

    name: str
    param: caffe_pb2.LayerParameter
    layer: Layer
    bottoms: list[Blob] = field(default_factory=list)
    tops: list[Blob] = field(default_factory=list)
    bottom_ids: list[int] = field(default_factory=list)
    top_ids: list[int] = field(default_factory=list)
    bottom_need_backward: list[bool] = field(default_factory=list)
    need_backward: bool = False
    loss_weights: list[float] = field(default_factory=list)
    param_ids: list[int] = field(default_factory=list)

    def setup(self) -> None:
        """Runs the layer's own setup and first reshape, then stores the loss weights."""
        self.layer.check_counts(self.bottoms, self.tops)
        self.layer.setup(self.bottoms, self.tops)
        self.layer.reshape(self.bottoms, self.tops)
        self.loss_weights = self._loss_weights()
        for top, weight in zip(self.tops, self.loss_weights):
            if weight:
                # Between passes a loss top's diff holds its weight (Caffe's layer.hpp): backward
                # finds it there as the gradient to start from.
                top.diff_tensor.fill_(weight)

    def forward(self) -> float | Tensor:
        """Reshapes and runs the layer.

        Returns:
            The weighted sum of its losses, a float64 scalar on the device; the float 0.0 if no top
            has a loss weight.
        """
        with self._naming_layer("forward"):
            self.layer.reshape(self.bottoms, self.tops)
            self.layer.forward(self.bottoms, self.tops)
        loss: float | Tensor = 0.0
        for top, weight in zip(self.tops, self.loss_weights):
            if weight:
                # data * diff is the weighted loss, because the diff holds the weight. In double
                # precision, so that adding up a net's losses adds no rounding.
                loss = loss + (top.data_tensor * top.diff_tensor).sum().double()
        return loss

    def backward(self) -> None:
        """Runs the layer backward where the analysis found it necessary."""
        if self.need_backward:
            with self._naming_layer("backward"):
                self.layer.backward(self.tops, self.bottom_need_backward, self.bottoms)

    @contextmanager
    def _naming_layer(self, direction: str) -> Iterator[None]:
        """Turns PyTorch's errors, as for empty blobs, into CaffeErrors that name the layer.

        Errors of users' Python layers pass unchanged.
        """
        try:
            yield
        except CaffeError:
            raise
        except (RuntimeError, IndexError) as error:
            if self.param.type == "Python":
                raise
            shapes = ", ".join(str(tuple(blob.dims)) for blob in self.bottoms) or "none"
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CaffeError(
                f"layer '{self.name}' ({self.param.type}) cannot run {direction} on bottoms of "
                f"shapes {shapes}: {reason}"
            ) from error

    def _loss_weights(self) -> list[float]:
        given: Sequence[float] = list(self.param.loss_weight)
        default = self.layer.default_loss_weight  # 1 for losses, 0 for all others
        if not given and default:
            given = [default]
        if not given:
            return [0.0] * len(self.tops)
        if len(given) != len(self.tops):
            raise GraphError(
                f"layer '{self.name}' ({self.param.type}) has {len(self.tops)} tops and "
                f"{len(given)} loss_weight (loss layers have one of 1 by default); give one "
                "loss_weight a top"
            )
        return [float(weight) for weight in given]
