"""Input and DummyData (Caffe `L/input_layer.cpp`, `dummy_data_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence

from dualnet.engine.core import filler
from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["DummyData", "Input"]


@register("Input")
class Input(Layer):
    """Blobs that the caller fills; the net lists them as its inputs."""

    bottoms = 0
    tops = (1, None)
    is_input = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Gives the tops their shapes, once: the caller may reshape them later."""
        shapes = self.layer_param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            raise PrototxtError(
                f"layer '{self.name}': must specify 'shape' once, once per top blob, or not at "
                f"all: {len(top)} tops vs. {len(shapes)} shapes"
            )
        for index, blob in enumerate(top):
            if shapes:
                blob.reshape(*shapes[index if len(shapes) > 1 else 0].dim)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Keeps whatever shape the caller gave."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Keeps whatever the caller wrote."""

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Inputs have nothing upstream."""


@register("DummyData")
class DummyData(Layer):
    """Blobs from fillers; constant ones are filled once, others again in every forward pass."""

    bottoms = 0
    tops = (1, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the shapes and fillers and fills every top."""
        param = self.layer_param.dummy_data_param
        fillers = list(param.data_filler) or [caffe_pb2.FillerParameter()]
        if len(fillers) not in (1, len(top)):
            raise PrototxtError(
                f"layer '{self.name}': number of data fillers must be 0, 1 or equal to the number "
                f"of tops: {len(top)}; you specified {len(fillers)} data fillers"
            )
        self._fillers = fillers if len(fillers) == len(top) else fillers * len(top)
        for blob, shape in zip(top, self._shapes(len(top))):
            blob.reshape(*shape)
        for blob, one in zip(top, self._fillers):
            filler.fill(blob, one)

    def _shapes(self, tops: int) -> list[tuple[int, ...]]:
        param = self.layer_param.dummy_data_param
        if param.shape:
            shapes = [tuple(shape.dim) for shape in param.shape]
        else:
            columns = [list(getattr(param, n)) for n in ("num", "channels", "height", "width")]
            counts = {len(column) for column in columns}
            if not counts <= {1, tops}:
                raise PrototxtError(
                    f"layer '{self.name}': num, channels, height and width must be given once or "
                    f"once per top ({tops}), they are given {[len(c) for c in columns]} times"
                )
            longest = max(counts)
            columns = [c if len(c) == longest else c * longest for c in columns]
            shapes = [tuple(dims) for dims in zip(*columns)]
        if len(shapes) not in (1, tops):
            raise PrototxtError(
                f"layer '{self.name}': must specify 'shape' once, or once per top blob: {tops} "
                f"tops vs. {len(shapes)} shapes"
            )
        return shapes if len(shapes) == tops else shapes * tops

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """The shapes are fixed."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Draws the tops whose filler is random."""
        for blob, one in zip(top, self._fillers):
            if one.type != "constant":
                filler.fill(blob, one)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """A data layer has no bottoms."""
