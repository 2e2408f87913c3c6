"""The layer interface (Caffe `include/caffe/layer.hpp`, `layers/loss_layer.hpp`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Optional, Union

import torch
from torch import Tensor

from dualnet.engine.core import filler
from dualnet.engine.core.blob import Blob, BlobVec
from dualnet.engine.errors import CaffeError, GraphError, ShapeError, WeightsError
from dualnet.engine.formats.blob_proto import stored_values
from dualnet.engine.proto import caffe_pb2

__all__ = ["Arity", "Blobs", "Layer", "LossLayer"]

Blobs = Sequence[Blob]
#: An exact count, or (least, most) with None for no bound.
Arity = Union[int, tuple[int, Optional[int]]]


class Layer:
    """Base of every layer, native or written by a user in Python.

    The net calls `setup` once, `reshape` after it and before every forward pass, then `forward`
    and `backward`. There is no autograd: a layer computes its gradients itself. Layers own no data
    but their parameters (`blobs`) and what a forward pass leaves for the backward pass.

    Attributes:
        layer_param: the layer's message, as filtered and with its phase set.
        name: the layer's name.
        phase: 0 for TRAIN, 1 for TEST.
        blobs: the parameters.
        param_propagate_down: for each parameter, whether its gradient is wanted.
    """

    #: The name in prototxt; set by `register`.
    type: ClassVar[str] = ""
    #: How many bottoms and tops the layer takes; checked before `setup`.
    bottoms: ClassVar[Arity] = (0, None)
    tops: ClassVar[Arity] = (0, None)
    #: Each bottom has its top.
    equal_bottoms_and_tops: ClassVar[bool] = False
    #: Missing tops are created unnamed, up to the least number (loss layers).
    auto_tops: ClassVar[bool] = False
    #: The loss weight of top 0 where prototxt gives none.
    default_loss_weight: ClassVar[float] = 0.0
    #: Whether the net inputs are this layer's tops.
    is_input: ClassVar[bool] = False

    def __init__(self, layer_param: caffe_pb2.LayerParameter, *args: object) -> None:
        self.layer_param = layer_param
        self.name: str = layer_param.name
        self.phase: int = layer_param.phase
        self.blobs = BlobVec()
        self.param_propagate_down: list[bool] = []

    @classmethod
    def create(cls, layer_param: caffe_pb2.LayerParameter) -> Layer:
        """Makes the layer object that a message describes."""
        return cls(layer_param)

    # What a layer defines

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the settings and creates the parameters with `add_param`."""

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Gives each top its shape; called before every forward pass, so it must be cheap."""
        raise NotImplementedError(f"layer type '{self.type}' lacks reshape")

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes each top's data and publishes it with `set_data`."""
        raise NotImplementedError(f"layer type '{self.type}' lacks forward")

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Computes each bottom's diff where wanted, and the parameters'.

        A bottom's diff must be set (`set_diff`), because the last pass's is still in it. A
        parameter's must be added to (`add_diff`), because `iter_size` passes and layers that share
        it accumulate.

        Args:
            top: tops whose diff holds the gradient; a loss layer's, the loss weight.
            propagate_down: for each bottom, whether its diff is wanted.
            bottom: bottoms whose diff is to be set.
        """
        raise NotImplementedError(f"layer type '{self.type}' lacks backward")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Whether `force_backward` makes this bottom want its gradient."""
        return True

    # What a layer uses

    def add_param(
        self, shape: Sequence[int], fill: caffe_pb2.FillerParameter | None = None
    ) -> Blob:
        """Creates the next parameter.

        Args:
            shape: its shape.
            fill: how to initialise it; None leaves zeros. Values in the layer's own message
                (`blobs` in a stored net) replace it.
        """
        blob = Blob(tuple(shape))
        index = len(self.blobs)
        stored = self.layer_param.blobs
        if index < len(stored):
            _load_stored(self.name, index, blob, stored[index])
        elif fill is not None:
            try:
                filler.fill(blob, fill)
            except (MemoryError, RuntimeError) as error:  # PyTorch's allocators raise the latter
                if isinstance(error, CaffeError) or "memory" not in str(error):
                    raise
                raise ShapeError(
                    f"layer '{self.name}' ({self.type}): parameter {index} of shape {blob.dims} "
                    f"takes {4 * blob.count / 2**30:.1f} GiB, which this machine does not have free"
                ) from error
        self.blobs.append(blob)
        self.param_propagate_down.append(True)
        return blob

    def wants_param(self, index: int) -> bool:
        """Whether the gradient of parameter `index` is wanted."""
        return index < len(self.blobs) and self.param_propagate_down[index]

    def axis(self, axis: int, blob: Blob) -> int:
        """The axis counted from the front; negative ones count from the back.

        Raises:
            ShapeError: the blob has too few axes.
        """
        ndim = len(blob.dims)
        if not -ndim <= axis < ndim:
            raise ShapeError(
                f"layer '{self.name}' ({self.type}): axis {axis} is out of range for a blob of "
                f"shape {blob.dims}"
            )
        return axis % ndim

    def check_counts(self, bottom: Blobs, top: Blobs) -> None:
        """Raises GraphError unless the numbers of bottoms and tops suit the layer type."""
        for what, arity, found in (
            ("bottom", self.bottoms, len(bottom)),
            ("top", self.tops, len(top)),
        ):
            least, most = (arity, arity) if isinstance(arity, int) else arity
            if found < least or (most is not None and found > most):
                raise GraphError(
                    f"layer '{self.name}' ({self.type}) has {found} {what} blobs, it takes "
                    f"{_range(least, most)}"
                )
        if self.equal_bottoms_and_tops and len(bottom) != len(top):
            raise GraphError(
                f"layer '{self.name}' ({self.type}) has {len(bottom)} bottom and {len(top)} top "
                "blobs; it takes as many tops as bottoms"
            )

    def check_same_shape(self, first: Blob, second: Blob, what: str) -> None:
        """Raises ShapeError unless two blobs agree in shape."""
        if first.dims != second.dims:
            raise ShapeError(
                f"layer '{self.name}' ({self.type}): {what} must have the same shape, they have "
                f"{first.dims} and {second.dims}"
            )


class LossLayer(Layer):
    """Base of the native losses: two bottoms, one scalar top of weight 1, labels last."""

    bottoms: ClassVar[Arity] = 2
    tops: ClassVar[Arity] = 1
    auto_tops = True
    default_loss_weight = 1.0

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Labels (bottom 1) get no gradient, even if `force_backward` asks for it."""
        return bottom_index != 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks the batch size and makes the loss a scalar."""
        if len(bottom) > 1 and bottom[0].dims[:1] != bottom[1].dims[:1]:
            raise ShapeError(
                f"layer '{self.name}' ({self.type}): the data and label should have the same "
                f"first dimension, they have shapes {bottom[0].dims} and {bottom[1].dims}"
            )
        top[0].reshape()

    def refuse_label_gradient(self, propagate_down: Sequence[bool], index: int = 1) -> None:
        """Raises GraphError where the gradient of the labels is asked for."""
        if len(propagate_down) > index and propagate_down[index]:
            raise GraphError(
                f"layer '{self.name}' ({self.type}) cannot backpropagate to its label inputs "
                f"(bottom {index}); set propagate_down to false for it"
            )

    def set_loss(self, top: Blobs, value: Tensor) -> None:
        """Publishes the loss, a tensor without axes."""
        top[0].set_data(value)


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    return f"exactly {least}" if least == most else f"{least} to {most}"


def _load_stored(name: str, index: int, blob: Blob, stored: caffe_pb2.BlobProto) -> None:
    values = torch.from_numpy(stored_values(stored))
    if values.numel() != math.prod(blob.dims):
        raise WeightsError(
            f"layer '{name}', parameter {index}: its message holds {values.numel()} values, the "
            f"layer needs shape {blob.dims}"
        )
    blob.set_data(values.view(blob.dims))
