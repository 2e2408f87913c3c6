"""A net that runs: passes, gradients, weights (Caffe `src/caffe/net.cpp`, pycaffe's `_caffe.cpp`).

Users meet it as `dualnet.engine.net.net.Net`, which adds what pycaffe has in Python: blobs by
name, arrays in and out, batches.
"""

from __future__ import annotations

from typing import Callable, TypeVar

import torch
from torch import Tensor

from dualnet.engine.core.blob import Blob, IntVec
from dualnet.engine.core.call import file_name
from dualnet.engine.core.storage import sync_host_arrays
from dualnet.engine.errors import UnknownNameError
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.layers.base import Layer
from dualnet.engine.net import debug_info, weights
from dualnet.engine.net.structure import NetStructure
from dualnet.engine.proto import caffe_pb2

__all__ = ["BaseNet"]

Callback = Callable[[int], None]
N = TypeVar("N", bound="BaseNet")


class BaseNet:
    """A net built from a message; layers and blobs go by number here.

    Attributes:
        layers: the layer objects in order.
    """

    _structure: NetStructure
    _debug_info: bool
    layers: list[Layer]

    @classmethod
    def from_message(cls: type[N], message: caffe_pb2.NetParameter) -> N:
        """Builds a net from a message whose `state` is set.

        Raises:
            CaffeError: see `NetStructure`.
        """
        net = cls.__new__(cls)
        net._build(message)
        return net

    def _build(self, message: caffe_pb2.NetParameter) -> None:
        with torch.no_grad():
            self._structure = NetStructure(message)
        self._debug_info = message.debug_info
        self._before_forward: list[Callback] = []
        self._after_forward: list[Callback] = []
        self._before_backward: list[Callback] = []
        self._after_backward: list[Callback] = []
        self.layers = [node.layer for node in self._structure.nodes]

    # What pycaffe's own Python code reads

    @property
    def name(self) -> str:
        """The net's name."""
        return str(self._structure.message.name)

    @property
    def _blobs(self) -> list[Blob]:
        return self._structure.blobs

    @property
    def _blob_names(self) -> list[str]:
        return self._structure.blob_names

    @property
    def _blob_loss_weights(self) -> list[float]:
        return self._structure.blob_loss_weights

    @property
    def _layer_names(self) -> list[str]:
        return [node.name for node in self._structure.nodes]

    @property
    def _inputs(self) -> IntVec:
        return IntVec(self._structure.inputs)

    @property
    def _outputs(self) -> IntVec:
        return IntVec(self._structure.outputs)

    def _bottom_ids(self, layer: int) -> IntVec:
        return IntVec(self._structure.nodes[layer].bottom_ids)

    def _top_ids(self, layer: int) -> IntVec:
        return IntVec(self._structure.nodes[layer].top_ids)

    # Running

    def _forward(self, start: int, end: int) -> float:
        """Runs layers `start` to `end`, both included, and returns the weighted loss.

        Waits for the GPU, because the loss is a Python number. Whoever runs many passes and shows
        few of their losses, as the solver does, uses `_forward_on_device`.
        """
        return float(self._forward_on_device(start, end))

    def _forward_on_device(self, start: int, end: int) -> float | Tensor:
        """As `_forward`, without waiting for the GPU.

        Returns:
            The loss as a float64 scalar on the device; the float 0.0 if no layer that ran has a
            loss weight.
        """
        self._check_range(start, end)
        nodes = self._structure.nodes
        loss: float | Tensor = 0.0
        # One synchronisation for all layers: between two of them only callbacks read arrays.
        with torch.no_grad(), sync_host_arrays():
            for i in range(start, end + 1):
                for callback in self._before_forward:
                    callback(i)
                loss = loss + nodes[i].forward()
                if self._debug_info:
                    debug_info.show_forward(self._structure, nodes[i])
                for callback in self._after_forward:
                    callback(i)
        return loss

    def _backward(self, start: int, end: int) -> None:
        """Runs layers `start` down to `end`, both included, backward."""
        self._check_range(end, start)
        nodes = self._structure.nodes
        with torch.no_grad(), sync_host_arrays():
            for i in range(start, end - 1, -1):
                for callback in self._before_backward:
                    callback(i)
                nodes[i].backward()
                if self._debug_info:
                    debug_info.show_backward(self._structure, nodes[i])
                for callback in self._after_backward:
                    callback(i)

    def _forward_backward(self) -> float | Tensor:
        """One pass in both directions; returns the weighted loss as `_forward_on_device` does."""
        last = len(self._structure.nodes) - 1
        loss = self._forward_on_device(0, last)
        self._backward(last, 0)
        if self._debug_info:
            debug_info.show_params(self._structure)
        return loss

    def _check_range(self, first: int, last: int) -> None:
        if first < 0 or last >= len(self._structure.nodes):
            raise UnknownNameError(
                f"layers {first} to {last} are out of range: the net has "
                f"{len(self._structure.nodes)} layers"
            )

    def reshape(self) -> None:
        """Lets every layer adapt to the present shapes of the input blobs.

        Raises:
            ShapeError: a layer cannot take them.
        """
        with torch.no_grad():
            for node in self._structure.nodes:
                node.layer.reshape(node.bottoms, node.tops)

    def clear_param_diffs(self) -> None:
        """Sets the gradients of all parameters to zero."""
        for number in self._structure.learnable:
            self._structure.params[number].blob.clear_diff()

    # Weights

    def copy_from(self, path: Path) -> None:
        """Copies weights by layer name from a caffemodel or HDF5 file.

        Layers that only one side has are logged and left alone, as in Caffe; if no layer matches,
        a warning is logged.

        Raises:
            PrototxtError: the file is missing or no caffemodel.
            WeightsError: a layer of a common name has other parameters, or the HDF5 file is
                damaged.
            DataError: it is HDF5 and the package h5py is missing.
        """
        weights.copy_from(
            self._structure, file_name(path, "Net.copy_from(weights_file)", "weights_file")
        )

    def share_with(self, other: BaseNet) -> None:
        """Uses the parameter values of another net's layers of the same names, without a copy.

        Gradients are not shared. Layers that only one net has are passed over.

        Raises:
            WeightsError: layers of one name have parameters of different shapes.
        """
        if not isinstance(other, BaseNet):
            raise TypeError(f"Net.share_with(other): other is {other!r}, and a Net is needed")
        own = weights.first_of_each_name(self._structure)
        for source in other._structure.nodes:
            if source.name not in own:
                continue
            node = own[source.name]
            weights.check_same_parameters(node.name, node.layer.blobs, source.layer.blobs)
            for mine, theirs in zip(node.layer.blobs, source.layer.blobs):
                mine.share_data(theirs)

    def save(self, path: Path, write_diff: bool = False) -> None:
        """Writes the weights, and with `write_diff` their gradients, as a caffemodel.

        Raises:
            DataError: the file cannot be written; an older one of that name is left as it was.
        """
        weights.save_binary(self._structure, file_name(path, "Net.save(path)", "path"), write_diff)

    def save_hdf5(self, path: Path, write_diff: bool = False) -> None:
        """Writes the weights, and with `write_diff` their gradients, as HDF5.

        Raises:
            DataError: the file cannot be written, or the package h5py is missing.
            WeightsError: two layers with weights share a name, or one has none.
        """
        weights.save_hdf5(
            self._structure, file_name(path, "Net.save_hdf5(path)", "path"), write_diff
        )

    def load_hdf5(self, path: Path) -> None:
        """Copies weights by layer name from an HDF5 file; see `copy_from` for layers of one side.

        Raises:
            WeightsError: the file cannot be read, or a layer of a common name has other parameters.
            DataError: the package h5py is missing.
        """
        weights.load_hdf5(self._structure, file_name(path, "Net.load_hdf5(path)", "path"))

    # Callbacks

    def before_forward(self, callback: Callback) -> None:
        """Calls `callback(layer_index)` before each layer's forward pass."""
        self._before_forward.append(callback)

    def after_forward(self, callback: Callback) -> None:
        """Calls `callback(layer_index)` after each layer's forward pass."""
        self._after_forward.append(callback)

    def before_backward(self, callback: Callback) -> None:
        """Calls `callback(layer_index)` before each layer's backward pass."""
        self._before_backward.append(callback)

    def after_backward(self, callback: Callback) -> None:
        """Calls `callback(layer_index)` after each layer's backward pass."""
        self._after_backward.append(callback)
