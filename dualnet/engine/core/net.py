"""The Net that users see (pycaffe's `Net`: `python/caffe/pycaffe.py`, `_caffe.cpp`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor

from dualnet.engine.command import debug_info
from dualnet.engine.core import batches
from dualnet.engine.core.batches import Arrays
from dualnet.engine.core.blob import Blob, IntVec
from dualnet.engine.core.build import Plan
from dualnet.engine.core.call import blob_names, file_name, fill
from dualnet.engine.core.storage import boundary
from dualnet.engine.errors import CaffeError, InputArrayError, UnknownNameError, naming, quoted
from dualnet.engine.formats import prototxt, weights
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.layers.base import Layer
from dualnet.engine.layers.data.memory_data import MemoryData
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe.net_arguments import constructor_arguments

__all__ = ["Net"]

Callback = Callable[[int], None]


class Net:
    """A net built from prototxt.

    `Net(network_file, phase, level=0, stages=None, weights=None)`; the older
    `Net(network_file, weights_file, phase)` works too, with a warning.

    Args:
        network_file: the prototxt.
        phase: `caffe.TRAIN` or `caffe.TEST`.
        level: the level that include rules see.
        stages: the stages that include rules see.
        weights: a caffemodel or HDF5 file to copy weights from.

    Raises:
        CaffeError: with the file, the layer and both values.
    """

    def __init__(self, network_file: Path, *args: Any, **kwargs: Any) -> None:
        phase, level, stages, weights_file = constructor_arguments(network_file, args, kwargs)
        message = prototxt.read_net(network_file)
        message.state.phase = phase
        message.state.level = level
        message.state.stage.extend(stages or [])
        with naming(network_file):
            self._build(message)
        if weights_file is not None:
            self.copy_from(weights_file)

    @classmethod
    def from_message(cls, message: caffe_pb2.NetParameter) -> Net:
        """Builds a net from a message whose `state` is set."""
        net = cls.__new__(cls)
        net._build(message)
        return net

    def _build(self, message: caffe_pb2.NetParameter) -> None:
        with torch.no_grad():
            self._plan = plan = Plan(message)
        self._debug_info: bool = message.debug_info
        # Of layers with one name, start= and end= mean the first (pycaffe.py, list.index).
        self._layer_indices = {node.name: i for i, node in reversed(list(enumerate(plan.nodes)))}
        self._before_forward: list[Callback] = []
        self._after_forward: list[Callback] = []
        self._before_backward: list[Callback] = []
        self._after_backward: list[Callback] = []
        named = [(n, b) for n, b in zip(plan.blob_names, plan.blobs) if n != "(automatic)"]
        #: Blobs by name, in order of appearance.
        self.blobs: OrderedDict[str, Blob] = OrderedDict(named)
        #: Loss weights by blob name.
        self.blob_loss_weights: OrderedDict[str, float] = OrderedDict(
            zip(plan.blob_names, plan.blob_loss_weights)
        )
        #: The layer objects in order.
        self.layers: list[Layer] = [node.layer for node in plan.nodes]
        #: Layers by name.
        self.layer_dict: OrderedDict[str, Layer] = OrderedDict(
            (node.name, node.layer) for node in plan.nodes
        )
        #: Parameters by layer name, for layers that have any.
        self.params: OrderedDict[str, list[Blob]] = OrderedDict(
            (node.name, node.layer.blobs) for node in plan.nodes if len(node.layer.blobs)
        )
        names = plan.blob_names
        #: Names of the blobs that Input layers produce.
        self.inputs: list[str] = [names[i] for i in plan.inputs]
        #: Names of the blobs that nothing reads, in alphabetical order.
        self.outputs: list[str] = [names[i] for i in plan.outputs]
        #: Each layer's tops and bottoms by name.
        self.top_names: OrderedDict[str, list[str]] = OrderedDict(
            (node.name, [names[i] for i in node.top_ids]) for node in plan.nodes
        )
        self.bottom_names: OrderedDict[str, list[str]] = OrderedDict(
            (node.name, [names[i] for i in node.bottom_ids]) for node in plan.nodes
        )

    # What pycaffe's own Python code reads

    @property
    def name(self) -> str:
        """The net's name."""
        return str(self._plan.message.name)

    @property
    def _blobs(self) -> list[Blob]:
        return self._plan.blobs

    @property
    def _blob_names(self) -> list[str]:
        return self._plan.blob_names

    @property
    def _blob_loss_weights(self) -> list[float]:
        return self._plan.blob_loss_weights

    @property
    def _layer_names(self) -> list[str]:
        return [node.name for node in self._plan.nodes]

    @property
    def _inputs(self) -> IntVec:
        return IntVec(self._plan.inputs)

    @property
    def _outputs(self) -> IntVec:
        return IntVec(self._plan.outputs)

    def _bottom_ids(self, layer: int) -> IntVec:
        return IntVec(self._plan.nodes[layer].bottom_ids)

    def _top_ids(self, layer: int) -> IntVec:
        return IntVec(self._plan.nodes[layer].top_ids)

    # Running

    def _forward(self, start: int, end: int) -> float:
        """Runs layers `start` to `end`, both included, and returns the weighted loss."""
        return float(self._forward_on_device(start, end))

    def _forward_on_device(self, start: int, end: int) -> float | Tensor:
        """The same, without waiting for the loss: a scalar on the device, or 0 without any."""
        self._check_range(start, end)
        nodes = self._plan.nodes
        loss: float | Tensor = 0.0
        with torch.no_grad(), boundary():
            for i in range(start, end + 1):
                for callback in self._before_forward:
                    callback(i)
                loss = loss + nodes[i].forward()
                if self._debug_info:
                    debug_info.show_forward(self._plan, nodes[i])
                for callback in self._after_forward:
                    callback(i)
        return loss

    def _backward(self, start: int, end: int) -> None:
        """Runs layers `start` down to `end`, both included, backward."""
        self._check_range(end, start)
        nodes = self._plan.nodes
        with torch.no_grad(), boundary():
            for i in range(start, end - 1, -1):
                for callback in self._before_backward:
                    callback(i)
                nodes[i].backward()
                if self._debug_info:
                    debug_info.show_backward(self._plan, nodes[i])
                for callback in self._after_backward:
                    callback(i)

    def _forward_backward(self) -> float | Tensor:
        """One pass in both directions; returns the weighted loss as `_forward_on_device` does."""
        last = len(self._plan.nodes) - 1
        loss = self._forward_on_device(0, last)
        self._backward(last, 0)
        if self._debug_info:
            debug_info.show_params(self._plan)
        return loss

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: np.ndarray,
    ) -> Arrays:
        """Runs the net forward.

        Args:
            blobs: names of blobs to return besides the outputs.
            start: the layer to begin at; the first by default.
            end: the layer to stop after; the last by default.
            **inputs: for every net input its values, copied in first; all or none.

        Returns:
            Arrays by blob name: the net's outputs, or the tops of `end`. They alias the blobs, so
            the next pass overwrites them.
        """
        blob_names("forward", "blobs", blobs)
        first = 0 if start is None else self._layer_index(start)
        last = len(self.layers) - 1 if end is None else self._layer_index(end)
        wanted = self.outputs if end is None else self.top_names[end]
        if inputs:
            if set(inputs) != set(self.inputs):
                raise CaffeError(
                    "Input blob arguments do not match net inputs: given "
                    f"{quoted(sorted(inputs))}, the net has {quoted(self.inputs)}"
                )
            for name, values in inputs.items():
                self._check_batch("Input is not batch sized", name, values)
                fill(f"forward({name}=…)", name, self.blobs[name].data, values)
        self._forward(first, last)
        return {name: self._blob(name).data for name in {*wanted, *(blobs or [])}}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **top_diffs: np.ndarray,
    ) -> Arrays:
        """Runs the net backward.

        Args:
            diffs: names of blobs whose diffs to return besides those of the inputs.
            start: the layer to begin at; the last by default.
            end: the layer to stop after; the first by default.
            **top_diffs: for every net output its gradient, copied in first; all or none.

        Returns:
            Diffs by blob name: those of the net's inputs, or of the bottoms of `end`. They alias
            the blobs.
        """
        blob_names("backward", "diffs", diffs)
        first = len(self.layers) - 1 if start is None else self._layer_index(start)
        last = 0 if end is None else self._layer_index(end)
        wanted = self.inputs if end is None else self.bottom_names[end]
        if top_diffs:
            if set(top_diffs) != set(self.outputs):
                raise CaffeError(
                    "Top diff arguments do not match net outputs: given "
                    f"{quoted(sorted(top_diffs))}, the net has {quoted(self.outputs)}"
                )
            for name, values in top_diffs.items():
                self._check_batch("Diff is not batch sized", name, values)
                fill(f"backward({name}=…)", name, self.blobs[name].diff, values)
        self._backward(first, last)
        return {name: self._blob(name).diff for name in {*wanted, *(diffs or [])}}

    def forward_all(self, blobs: Sequence[str] | None = None, **inputs: Any) -> Arrays:
        """Runs any number of samples through the net in batches.

        Args:
            blobs: names of blobs to return besides the outputs.
            **inputs: for every net input an array or list of samples.

        Returns:
            Arrays by blob name with as many rows as there were samples; copies, not views.
        """
        return batches.forward_all(self, blobs, inputs)

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **arrays: Any,
    ) -> tuple[Arrays, Arrays]:
        """Runs any number of samples through the net in both directions, in batches.

        Args:
            blobs: names of blobs to return besides the outputs.
            diffs: names of blobs whose diffs to return besides those of the inputs.
            **arrays: for every net input its samples and for every net output its gradients.

        Returns:
            The blobs and the diffs, as copies.
        """
        return batches.forward_backward_all(self, blobs, diffs, arrays)

    def _batch(self, blobs: dict[str, Any]) -> Iterator[Arrays]:
        """Cuts arrays into pieces of the net's batch size; the last is padded with zeros."""
        return batches.cut(self, blobs)

    # Inputs, weights, callbacks

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Lets the MemoryData layer that heads the net read from these arrays.

        The arrays are not copied: refill them in place for the next batch.

        Args:
            data: (M, C, H, W) float32, C-contiguous, M a multiple of the batch size.
            labels: (M,) or (M, 1, 1, 1) float32, C-contiguous.

        Raises:
            InputArrayError: the net has no such layer, or the arrays do not suit it.
        """
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        first = self.layers[0] if self.layers else None
        if not isinstance(first, MemoryData):
            found = "the net has no layer" if first is None else f"it is a {first.type} layer"
            raise InputArrayError(
                "set_input_arrays may only be called if the first layer is a MemoryData layer; "
                f"{found}"
            )
        first.set_arrays(data, labels)

    def reshape(self) -> None:
        """Lets every layer adapt to the present shapes of the input blobs."""
        with torch.no_grad():
            for node in self._plan.nodes:
                node.layer.reshape(node.bottoms, node.tops)

    def clear_param_diffs(self) -> None:
        """Sets the gradients of all parameters to zero."""
        for number in self._plan.learnable:
            self._plan.params[number].blob.clear_diff()

    def copy_from(self, path: Path) -> None:
        """Copies weights by layer name from a caffemodel or HDF5 file."""
        weights.copy_from(
            self._plan, file_name(path, "Net.copy_from(weights_file)", "weights_file")
        )

    def share_with(self, other: Net) -> None:
        """Uses the weights of another net's layers of the same names, memory and all."""
        if not isinstance(other, Net):
            raise TypeError(f"Net.share_with(other): other is {other!r}, and a Net is needed")
        own = weights.first_of_each_name(self._plan)
        for source in other._plan.nodes:
            if source.name not in own:
                continue
            node = own[source.name]
            weights.check_same_parameters(node.name, node.layer.blobs, source.layer.blobs)
            for mine, theirs in zip(node.layer.blobs, source.layer.blobs):
                mine.share_data(theirs)

    def save(self, path: Path, write_diff: bool = False) -> None:
        """Writes the weights as a caffemodel."""
        weights.save_binary(self._plan, file_name(path, "Net.save(path)", "path"), write_diff)

    def save_hdf5(self, path: Path, write_diff: bool = False) -> None:
        """Writes the weights as HDF5."""
        weights.save_hdf5(self._plan, file_name(path, "Net.save_hdf5(path)", "path"), write_diff)

    def load_hdf5(self, path: Path) -> None:
        """Copies weights by layer name from an HDF5 file."""
        weights.load_hdf5(self._plan, file_name(path, "Net.load_hdf5(path)", "path"))

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

    # Checks

    def _layer_index(self, name: str) -> int:
        if name not in self._layer_indices:
            hint = " (that is a blob; start and end name layers)" if name in self.blobs else ""
            raise UnknownNameError(
                f"the net has no layer '{name}'{hint}; its layers are: {quoted(self._layer_names)}"
            )
        return self._layer_indices[name]

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise UnknownNameError(
                f"the net has no blob '{name}'; its blobs are: {quoted(self.blobs)}"
            )
        return self.blobs[name]

    def _check_range(self, first: int, last: int) -> None:
        if first < 0 or last >= len(self._plan.nodes):
            raise UnknownNameError(
                f"layers {first} to {last} are out of range: the net has "
                f"{len(self._plan.nodes)} layers"
            )

    def _check_batch(self, what: str, name: str, values: np.ndarray) -> None:
        size = self.blobs[name].dims[0] if self.blobs[name].dims else 1
        if np.shape(values)[:1] != (size,):
            raise CaffeError(
                f"{what}: '{name}' has shape {np.shape(values)}, the net's first dimension is "
                f"{size}"
            )
