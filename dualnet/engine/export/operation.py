"""One layer as PyTorch traces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from dualnet.engine.core.blob import BlobVec
from dualnet.engine.export.traced_blob import TracedBlob
from dualnet.engine.layers.base import Layer
from dualnet.engine.net.node import Node

__all__ = ["EngineOperation", "Operation", "named_weights"]

#: What a layer's parameters are called, in order; as in PyTorch's modules.
_NAMES = ("weight", "bias", "running_mean", "running_var")


class Operation(Protocol):
    """A layer's forward pass as a function of tensors.

    Attributes:
        weights: what the layer has learned, by name; the module owns them as `LAYER.NAME`.
    """

    @property
    def weights(self) -> Mapping[str, Tensor]: ...

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """Computes the tops.

        Args:
            weights: the present values of `weights`, by the same names.
            inputs: the bottoms. They are not changed in place.
        """
        ...


class EngineOperation:
    """The engine's own layer, which is traced as it runs.

    Args:
        node: the layer in its net. Its parameters are replaced when it is first called.
    """

    def __init__(self, node: Node) -> None:
        self._layer = node.layer
        self._tops = len(node.tops)
        self.weights: Mapping[str, Tensor] = named_weights(node.layer)

    def __call__(self, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        self._layer.blobs = BlobVec(TracedBlob(weights[name]) for name in self.weights)
        # A top is never a bottom here, even where the layer works in place: it then takes the path
        # on which it leaves its input as it is.
        bottom = [TracedBlob(values) for values in inputs]
        top = [TracedBlob() for _ in range(self._tops)]
        self._layer.reshape(bottom, top)
        self._layer.forward(bottom, top)
        return [blob.data_tensor for blob in top]


def named_weights(layer: Layer) -> dict[str, Tensor]:
    """A layer's parameters by PyTorch's names, in their order."""
    names = ("bias",) if layer.type == "Bias" else _NAMES
    return {name: blob.data_tensor for name, blob in zip(names, layer.blobs)}
