"""The Net that users see (pycaffe's `Net`, `python/caffe/pycaffe.py`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from dualnet.engine.core.blob import Blob
from dualnet.engine.core.call import blob_names, fill
from dualnet.engine.errors import CaffeError, InputArrayError, UnknownNameError, naming, quoted
from dualnet.engine.formats import prototxt
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.layers.base import Layer
from dualnet.engine.layers.data.memory_data import MemoryData
from dualnet.engine.net.base_net import BaseNet
from dualnet.engine.net.batches import Arrays, Rows, cut
from dualnet.engine.net.net_arguments import constructor_arguments
from dualnet.engine.proto import caffe_pb2

__all__ = ["Net"]


class Net(BaseNet):
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

    def _build(self, message: caffe_pb2.NetParameter) -> None:
        super()._build(message)
        structure = self._structure
        names = structure.blob_names
        # Of layers with one name, start= and end= mean the first (pycaffe.py, list.index).
        self._layer_indices = {
            node.name: i for i, node in reversed(list(enumerate(structure.nodes)))
        }
        # The blobs of losses without tops have no name of their own.
        named = [(n, b) for n, b in zip(names, structure.blobs) if n != "(automatic)"]
        #: Blobs by name, in order of appearance.
        self.blobs: OrderedDict[str, Blob] = OrderedDict(named)
        #: Loss weights by blob name.
        self.blob_loss_weights: OrderedDict[str, float] = OrderedDict(
            zip(names, structure.blob_loss_weights)
        )
        #: Layers by name.
        self.layer_dict: OrderedDict[str, Layer] = OrderedDict(
            (node.name, node.layer) for node in structure.nodes
        )
        #: Parameters by layer name, for layers that have any.
        self.params: OrderedDict[str, list[Blob]] = OrderedDict(
            (node.name, node.layer.blobs) for node in structure.nodes if len(node.layer.blobs)
        )
        #: Names of the blobs that Input layers produce.
        self.inputs: list[str] = [names[i] for i in structure.inputs]
        #: Names of the blobs that nothing reads, in alphabetical order.
        self.outputs: list[str] = [names[i] for i in structure.outputs]
        #: Each layer's tops and bottoms by name.
        self.top_names: OrderedDict[str, list[str]] = OrderedDict(
            (node.name, [names[i] for i in node.top_ids]) for node in structure.nodes
        )
        self.bottom_names: OrderedDict[str, list[str]] = OrderedDict(
            (node.name, [names[i] for i in node.bottom_ids]) for node in structure.nodes
        )

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
            start: name of the layer to begin at; the first by default.
            end: name of the layer to stop after; the last by default.
            **inputs: for every net input its values, copied in first; all or none.

        Returns:
            Arrays by blob name: the net's outputs, or the tops of `end`. They alias the blobs, so
            the next pass overwrites them.

        Raises:
            CaffeError: the inputs are not those of the net, or an array's first dimension is not
                the blob's.
            ValueError: an array's other dimensions do not fit the blob.
            UnknownNameError: no such layer or blob.
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

        Blobs' diffs are overwritten; those of the parameters are added to until
        `clear_param_diffs`.

        Args:
            diffs: names of blobs whose diffs to return besides those of the inputs.
            start: name of the layer to begin at; the last by default.
            end: name of the layer to stop after; the first by default.
            **top_diffs: for every net output its gradient, copied in first; all or none.

        Returns:
            Diffs by blob name: those of the net's inputs, or of the bottoms of `end`. They alias
            the blobs.

        Raises:
            CaffeError: the gradients are not those of the net's outputs, or an array's first
                dimension is not the blob's.
            ValueError: an array's other dimensions do not fit the blob.
            UnknownNameError: no such layer or blob.
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
        """Runs any number M of samples through the net, in batches of its size.

        The last batch is filled up with zeros, whose results are cut off again.

        Args:
            blobs: names of blobs to return besides the outputs. All of them, and the outputs, must
                have one row a sample.
            **inputs: for every net input an array or list of M samples.

        Returns:
            Arrays (M, …) by blob name; copies, not views. For M = 0 each is of shape (0,).
        """
        rows = Rows({*self.outputs, *(blobs or [])})
        for batch in self._batch(inputs):
            rows.add(self.forward(blobs, None, None, **batch))
        return rows.first(len(next(iter(inputs.values()))))

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **arrays: Any,
    ) -> tuple[Arrays, Arrays]:
        """Runs any number M of samples through the net in both directions; see `forward_all`.

        Args:
            blobs: names of blobs to return besides the outputs.
            diffs: names of blobs whose diffs to return besides those of the inputs.
            **arrays: for every net input its M samples and for every net output their gradients.

        Returns:
            The blobs and the diffs, (M, …) each, as copies.
        """
        data = Rows({*self.outputs, *(blobs or [])})
        grads = Rows({*self.inputs, *(diffs or [])})
        inputs = self._batch({name: arrays[name] for name in self.inputs if name in arrays})
        outputs = self._batch({name: arrays[name] for name in self.outputs if name in arrays})
        for batch, top_diffs in zip_longest(inputs, outputs):
            data.add(self.forward(blobs, None, None, **(batch or {})))
            grads.add(self.backward(diffs, None, None, **(top_diffs or {})))
        count = len(next(iter(arrays.values())))
        return data.first(count), grads.first(count)

    def _batch(self, blobs: dict[str, Any]) -> Iterator[Arrays]:
        """Cuts arrays into pieces of the net's batch size; the last is padded with zeros."""
        return cut(blobs, next(iter(self.blobs.values())).num) if blobs else iter(())

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

    def _check_batch(self, what: str, name: str, values: np.ndarray) -> None:
        size = self.blobs[name].dims[0] if self.blobs[name].dims else 1
        if np.shape(values)[:1] != (size,):
            raise CaffeError(
                f"{what}: '{name}' has shape {np.shape(values)}, the net's first dimension is "
                f"{size}"
            )
