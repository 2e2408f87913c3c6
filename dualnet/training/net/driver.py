"""A Caffe net driven by hand: feed it, run some of its layers, read its blobs.

What pycaffe asks for in between is hidden here (thesis section 7.4 is a list of it).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Optional, Union

import numpy as np

from dualnet.backend import provider
from dualnet.cut.inserted import blobs_of, numbers_of
from dualnet.errors import ConfigError

__all__ = ["Layer", "NetDriver", "Output", "net_state"]

_IS_ENGINE = provider == "engine"

#: A layer: its place among the prototxt's layers of the phase, or its name if no other has it.
Layer = Union[int, str]

#: (name, values, loss weight) of an output blob.
Output = tuple[str, np.ndarray, float]


def net_state(state: Optional[Any]) -> dict[str, Any]:
    """A solver's NetState as the arguments of caffe.Net, which knows no solver."""
    return {} if state is None else {"level": state.level, "stages": list(state.stage)}


class NetDriver:
    """Drives one pycaffe Net.

    Args:
        net: The net.
        path: Its prototxt, for messages.

    Attributes:
        built_shapes: Blob to its shape before the first batch, which may have another.
    """

    def __init__(self, net: Any, path: str) -> None:
        self.net = net
        self.path = path
        self._names: list[str] = [str(name) for name in net._layer_names]
        self._types: list[str] = [str(layer.type) for layer in net.layers]
        self._tops, self._bottoms = blobs_of(net, "top"), blobs_of(net, "bottom")
        #: Of each of the prototxt's layers, its number in the net, where Caffe's own come between.
        self._numbers = numbers_of(net)
        self._buffers: dict[str, np.ndarray] = {}
        self.built_shapes = {str(n): list(map(int, b.shape)) for n, b in net.blobs.items()}

    # Running a stretch of layers. They are given as the prototxt has them (`Layer`); the Split
    # layers that Caffe inserts go with the layer before them.

    def forward(self, first: Optional[Layer] = None, last: Optional[Layer] = None) -> float:
        """Run the layers from `first` to `last`, both included, and return their weighted loss.

        By default from the first layer that is not fed to the end. Inputs must have been given by
        `feed` or `put` before.
        """
        start = self._first_unfed() if first is None else self._number(first)
        end = len(self._names) - 1 if last is None else self._end_of(last)
        return float(self.net._forward(start, end)) if start <= end else 0.0

    def backward(self) -> None:
        """Run every layer backward from the loss.

        Blob diffs are overwritten; parameter diffs are added to, until they are cleared
        (`Nets.update`).
        """
        self.net._backward(len(self._names) - 1, 0)

    def run(self, layers: Sequence[Layer]) -> float:
        """Run some layers forward, each with its Split layers, in the order given.

        Returns:
            Their weighted loss.
        """
        return sum(self.forward(layer, layer) for layer in layers)

    def forward_without(self, layers: Collection[Layer], last: Optional[Layer] = None) -> float:
        """Run all layers but some, whose results stay as they are, and return the weighted loss.

        Split layers always run, also those of skipped layers: they pass the blob's present values
        to its readers.
        """
        end = len(self._names) - 1 if last is None else self._end_of(last)
        ranges = self._ranges(layers, end)
        return float(sum(self.net._forward(start, stop) for start, stop in ranges))

    def backward_without(self, layers: Collection[Layer]) -> None:
        """Run all layers but some backward from the loss; parameter diffs are added to."""
        for start, stop in reversed(self._ranges(layers, len(self._names) - 1)):
            self.net._backward(stop, start)

    def backward_from(self, diffs: dict[str, np.ndarray], beyond: Collection[Layer] = ()) -> None:
        """Run backward to the inputs from gradients given at some blobs, and from own losses.

        Args:
            diffs: Blob name to dL/d(blob), of its shape, without the part that flows through
                another of these blobs; that part is added here.
            beyond: Layers after the last of the blobs that take part: those that lead to an
                auxiliary loss of this net. They have been run forward.
        """
        places = {blob: self._last_maker(blob) for blob in diffs}
        latest = max(places.values())
        # Where nothing runs before it, the given gradient is the whole.
        alone = [blob for blob, place in places.items() if place == latest and not beyond]
        for blob in diffs:
            if blob in alone:
                self.write_diff(blob, diffs[blob])
                continue
            self.diff(blob)[...] = 0
            for top in self._split_tops(blob):
                self.diff(top)[...] = 0
        run = set(range(latest + 1))
        for layer in beyond:
            run.update(range(self._number(layer), self._end_of(layer) + 1))
        if beyond:  # what these layers leave in a Split layer's tops has to come back together
            for number, kind in enumerate(self._types):
                if kind == "Split" and self._bottoms[number][0] in diffs:
                    run.add(number)
        last: Optional[int] = None
        previous = -1
        for number in sorted(run, reverse=True):
            given = [blob for blob, place in places.items() if place == number]
            if last is not None and (given or previous != number + 1):
                self.net._backward(last, previous)
                last = None
            for blob in given:
                if blob not in alone:
                    self.diff(blob)[...] += diffs[blob]
            last = number if last is None else last
            previous = number
        if last is not None:
            self.net._backward(last, previous)

    def layer_after(self, layer: Layer) -> int:
        """The layer that follows `layer` and its Split layers; `layer` must not be the last."""
        return self._numbers.index(self._end_of(layer) + 1)

    def layer_before(self, layer: Layer) -> int:
        """The layer before `layer` in the prototxt's order, which is the forward order."""
        return self._numbers.index(self._number(layer)) - 1

    def _number(self, layer: Layer) -> int:
        """Which of the net's layers one of the prototxt's is."""
        if isinstance(layer, int):
            return self._numbers[layer]
        if self._names.count(layer) != 1:
            raise ConfigError(
                f"{self.path}: {self._names.count(layer)} layers named {layer!r}, and one is "
                "needed; give it a name of its own"
            )
        return self._names.index(layer)

    def _ranges(self, without: Collection[Layer], end: int) -> list[tuple[int, int]]:
        """Stretches of layers up to `end` that leave some layers out, as (first, last)."""
        ranges: list[tuple[int, int]] = []
        left_out = {self._number(layer) for layer in without}
        for i in range(end + 1):
            if i in left_out:
                continue
            if ranges and ranges[-1][1] == i - 1:
                ranges[-1] = (ranges[-1][0], i)
            else:
                ranges.append((i, i))
        return ranges

    def _last_maker(self, blob: str) -> int:
        """Index of the last layer that writes a blob, in place or not."""
        return [number for number, tops in enumerate(self._tops) if blob in tops][-1]

    def _split_tops(self, blob: str) -> list[str]:
        """What Caffe's Split layers make of a blob that several layers read."""
        return [
            top
            for number, kind in enumerate(self._types)
            if kind == "Split" and blob in self._bottoms[number]
            for top in self._tops[number]
        ]

    def _end_of(self, layer: Layer) -> int:
        end = self._number(layer)
        while end + 1 < len(self._names) and self._types[end + 1] == "Split":
            end += 1
        return end

    def _first_unfed(self) -> int:
        return self._end_of(0) + 1 if self._types[0] == "MemoryData" else 0

    # What goes in and out.

    def feed(self, values: dict[str, np.ndarray]) -> None:
        """Put a batch into the MemoryData or Input layers that make the named blobs.

        The blobs hold the values afterwards; `forward` then begins after these layers.

        An Input layer takes the shape of what it is given: batches and images may change their
        size from one iteration to the next, as they do in the single net.

        Args:
            values: Blob name to values: what MemoryData makes is (N, C, H, W) float32 and labels
                (N,) float32, always as many; what Input makes has the blob's number of axes.

        Raises:
            ConfigError: The values do not fit.
        """
        for blob, array in values.items():
            buffer = self._buffer(blob)
            shape = tuple(self.net.blobs[blob].shape) if buffer is None else buffer.shape
            # Labels: (N,) and (N, 1, 1, 1) are the same.
            array = array.reshape(_with_axes_of(shape, array.shape))
            if shape != array.shape:
                self._resize(blob, shape, array.shape)
            if buffer is None:
                self.write_data(blob, array)
            else:
                buffer[...] = array
        if self._types[0] == "MemoryData":
            self.net._forward(0, self._first_unfed() - 1)

    def put(self, values: dict[str, np.ndarray]) -> None:
        """Overwrite blobs, which take the values' shapes, and what Split layers make of them.

        Args:
            values: Blob name to values.
        """
        for blob, array in values.items():
            if tuple(self.net.blobs[blob].shape) != array.shape:
                self.net.blobs[blob].reshape(*array.shape)
            self.write_data(blob, array)
        for number, kind in enumerate(self._types):
            if kind == "Split" and set(self._bottoms[number]) & set(values):
                self.net._forward(number, number)

    def _resize(self, blob: str, old: Sequence[int], new: Sequence[int]) -> None:
        """Give an Input layer's blob another shape.

        Raises:
            ConfigError: It is made by MemoryData, whose size is fixed, or has other axes.
        """
        if blob in self._buffers or len(old) != len(new):
            raise ConfigError(
                f"{self.path}: {blob} takes {tuple(old)} and was given {tuple(new)}; make its "
                "layer as large as what the neighbour sends, or where sizes change an Input layer"
            )
        self.net.blobs[blob].reshape(*new)

    def _buffer(self, blob: str) -> Optional[np.ndarray]:
        """The array that feeds `blob`; None: the blob itself is written, as Input layers have none.

        Those of MemoryData are registered once and refilled in place, for set_input_arrays keeps
        every array that it was ever given.
        """
        if blob not in self._buffers:
            tops = self._tops[0]
            if self._types[0] != "MemoryData" or blob not in tops:
                return None
            data = np.zeros(tuple(self.net.blobs[tops[0]].shape), np.float32)
            labels = np.zeros(len(data), np.float32)
            self.net.set_input_arrays(data, labels)
            self._buffers[tops[0]], self._buffers[tops[1]] = data, labels
        return self._buffers[blob]

    def data(self, blob: str) -> np.ndarray:
        """A live view of a blob's values, overwritten by the next forward pass."""
        return np.asarray(self.net.blobs[blob].data)

    def diff(self, blob: str) -> np.ndarray:
        """A live view of a blob's gradient, overwritten by the next backward pass."""
        return np.asarray(self.net.blobs[blob].diff)

    # What the pieces send and receive is read and written once a batch. The engine does that
    # without making a live view, which would cost a copy more (and on a GPU an upload).

    def read_data(self, blob: str) -> np.ndarray:
        """A blob's values, to be used before the next pass."""
        return self.net.blobs[blob].read_data() if _IS_ENGINE else self.data(blob)

    def read_diff(self, blob: str) -> np.ndarray:
        """A blob's gradient, to be used before the next pass."""
        return self.net.blobs[blob].read_diff() if _IS_ENGINE else self.diff(blob)

    def write_data(self, blob: str, values: np.ndarray) -> None:
        """Overwrite a blob's values with others of its shape."""
        if _IS_ENGINE:
            self.net.blobs[blob].write_data(values)
        else:
            self.data(blob)[...] = values

    def write_diff(self, blob: str, values: np.ndarray) -> None:
        """Overwrite a blob's gradient with one of its shape."""
        if _IS_ENGINE:
            self.net.blobs[blob].write_diff(values)
        else:
            self.diff(blob)[...] = values

    def rms_norm(self, blob: str) -> float:
        """RMS over the batch of each sample's L2 norm: sqrt(sum of squares / N)."""
        values = self.data(blob)
        return float(np.sqrt(np.vdot(values, values) / len(values)))

    def parameters(self, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Live views of the parameters of some layers, by name `LAYER.INDEX`."""
        return {
            f"{layer}.{i}": np.asarray(blob.data)
            for layer in layers
            for i, blob in enumerate(self.net.params.get(layer, []))
        }

    def set_parameters(self, values: dict[str, np.ndarray]) -> None:
        """Overwrite parameters, by name `LAYER.INDEX`."""
        for name, array in values.items():
            layer, _, index = name.rpartition(".")
            self.net.params[layer][int(index)].data[...] = array

    def parameter_diffs(self) -> dict[str, np.ndarray]:
        """Copies of the gradients of all parameters, by name `LAYER.INDEX`."""
        return {
            f"{layer}.{i}": np.array(blob.diff)
            for layer, blobs in self.net.params.items()
            for i, blob in enumerate(blobs)
        }

    def set_parameter_diffs(self, values: dict[str, np.ndarray]) -> None:
        """Overwrite gradients of parameters, by name `LAYER.INDEX`."""
        for name, array in values.items():
            layer, _, index = name.rpartition(".")
            self.net.params[layer][int(index)].diff[...] = array

    def set_loss_weight(self, layer: Layer, weight: float) -> None:
        """Set a loss layer's weight: Caffe keeps it in its top's diff (net.cpp)."""
        for top in self._tops[self._number(layer)]:
            self.net.blobs[top].diff[...] = weight

    def outputs(self) -> list[Output]:
        """Every output blob, in the order in which Caffe's solver prints them."""
        weights = dict(zip(self.net._blob_names, self.net._blob_loss_weights))
        return [
            (str(name), np.array(self.net.blobs[name].data).ravel(), float(weights[name]))
            for name in self.net.outputs
        ]


def _with_axes_of(wanted: Sequence[int], shape: Sequence[int]) -> list[int]:
    """A shape with as many axes as another, if it takes but ones at the end of either."""
    sizes, count = list(shape), len(wanted)
    while len(sizes) > count and sizes[-1] == 1:
        sizes.pop()
    return sizes + [1 for size in wanted[len(sizes) :] if size == 1]
