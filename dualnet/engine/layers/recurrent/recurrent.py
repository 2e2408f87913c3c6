"""What recurrent layers share (Caffe `L/recurrent_layer.cpp`, `include/caffe/layers/`).

Caffe builds an inner net with one copy of the cell for each of the T time steps. Here the cell is a
loop; what can be observed of the inner net is the same:

- Without `expose_hidden` the state after the last step is where the next forward pass begins.
- Gradients end at the batch: neither the exposed last states' diffs are read, nor do the exposed
  first states receive one.
- Every parameter's gradient is computed, whatever its lr_mult.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dualnet.engine import log
from dualnet.engine.core.blob import Blob
from dualnet.engine.core.matrix import product
from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place

__all__ = ["Recurrent"]


class Recurrent(Layer):
    """Base of the layers that carry a state through T time steps of N independent streams.

    Bottoms: the input x (T, N, …); cont (T, N), 0 where a sequence begins and 1 where it goes on;
    optionally a static input (N, …), the same at every step; with `expose_hidden` the states before
    the first step, (1, N, num_output) each. Tops: the output (T, N, num_output); with
    `expose_hidden` the states after the last step, (1, N, num_output) each.

    Parameters: the input's weights (G num_output, K) for a cell of G gates, its bias
    (G num_output,), the static input's weights (G num_output, S) where there is one, then those of
    the cell.

    Attributes:
        param_names: the names of the parameters in Caffe's inner net, in order.
    """

    bottoms = (2, None)
    tops = (1, None)

    #: The states' names, in the order of their bottoms and tops.
    states: ClassVar[tuple[str, ...]] = ()
    #: How many values a step takes from its input for each output.
    gates: ClassVar[int] = 1
    #: The letter that Caffe's parameter names give to the result of the input's transform.
    letter: ClassVar[str] = "h"

    # What a cell defines

    def _add_cell_params(self) -> list[str]:
        """Creates the parameters of the recurrence; returns their names."""
        raise NotImplementedError

    def _unroll(self, x: Tensor, cont: Tensor, states: list[Tensor]) -> list[Tensor]:
        """Runs all steps and keeps what `_roll_back` needs.

        Args:
            x: (T, N, G num_output), the transformed input with bias.
            cont: (T, N, 1).
            states: the states before step 0, (N, num_output) each.

        Returns:
            The output (T, N, num_output), which the caller may publish, and the states after the
            last step.
        """
        raise NotImplementedError

    def _roll_back(self, gradient: Tensor, cont: Tensor) -> Tensor:
        """Adds the cell's parameter gradients.

        Args:
            gradient: (T, N, num_output), of the output.
            cont: (T, N, 1).

        Returns:
            (T, N, G num_output), the gradient of the transformed input.
        """
        raise NotImplementedError

    # The layer

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The continuation indicators get no gradient."""
        return bottom_index != 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.layer_param.recurrent_param
        self._h: int = param.num_output
        if not self._h:
            raise PrototxtError(
                f"layer '{self.name}' ({self.type}): recurrent_param needs num_output above 0"
            )
        self._exposed = len(self.states) if param.expose_hidden else 0
        self._check_exposed_counts(bottom, top)
        refuse_in_place(self, bottom, top)
        if param.debug_info:
            log.warning(
                f"layer '{self.name}' ({self.type}): recurrent_param.debug_info shows nothing "
                "here, because the engine has no inner net; the net's own debug_info works"
            )
        self._static = len(bottom) > 2 + self._exposed
        self._first_state = 3 if self._static else 2
        # Steps, values of x and of the static input; -1: not fixed yet, any will do.
        self._steps, self._k, self._s = -1, -1, -1
        self._check_shapes(bottom)
        self._steps = bottom[0].dims[0]
        self._k = math.prod(bottom[0].dims[2:])
        width = self.gates * self._h
        self.add_param([width, self._k], param.weight_filler)
        self.add_param([width], param.bias_filler)
        names = [f"W_x{self.letter}", f"b_{self.letter}"]
        if self._static:
            self._s = math.prod(bottom[2].dims[1:])
            self.add_param([width, self._s], param.weight_filler)
            names.append(f"W_x{self.letter}_static")
        self._cell = len(self.blobs)  # where the cell's own parameters begin
        self.param_names = (*names, *self._add_cell_params())
        # Blobs, so that they follow a change of device; zeros until a pass has left a state.
        self._carried = [Blob() for _ in self.states]
        self._ran = False

    def _check_exposed_counts(self, bottom: Blobs, top: Blobs) -> None:
        least = 2 + self._exposed
        takes = f"{least} or {least + 1} bottoms and {1 + self._exposed} tops"
        if not (least <= len(bottom) <= least + 1 and len(top) == 1 + self._exposed):
            setting = "true" if self._exposed else "false"
            raise GraphError(
                f"layer '{self.name}' ({self.type}) with expose_hidden {setting} has {len(bottom)} "
                f"bottoms and {len(top)} tops, it takes {takes}: x, cont, an optional static input"
                + ("".join(f", {state}_0" for state in self.states[: self._exposed]))
            )

    def _check_shapes(self, bottom: Blobs) -> None:
        x, cont = bottom[0].dims, bottom[1].dims
        where = f"layer '{self.name}' ({self.type})"
        if len(x) < 3:
            raise ShapeError(
                f"{where}: bottom 0 must have at least 3 axes (timesteps, streams, values...), it "
                f"has shape {x}"
            )
        if cont != x[:2]:
            raise ShapeError(
                f"{where}: bottom 1 must have exactly 2 axes (timesteps, streams) as bottom 0 has: "
                f"{x[:2]}, it has shape {cont}"
            )
        if self._steps not in (-1, x[0]):
            raise ShapeError(
                f"{where}: the number of timesteps is fixed to {self._steps} when the net is "
                f"built, bottom 0 has now shape {x}"
            )
        if self._static and (len(bottom[2].dims) < 2 or bottom[2].dims[0] != x[1]):
            raise ShapeError(
                f"{where}: the static input must have shape ({x[1]}, values...) for a bottom 0 of "
                f"shape {x}, it has {bottom[2].dims}"
            )
        self._check_values(bottom[0], 2, self._k)
        if self._static:
            self._check_values(bottom[2], 1, self._s)
        for i in range(self._exposed):
            state = bottom[self._first_state + i].dims
            if state != (1, x[1], self._h):
                raise ShapeError(
                    f"{where}: bottom {self._first_state + i} ({self.states[i]}_0) must have shape "
                    f"{(1, x[1], self._h)}, it has {state}"
                )

    def _check_values(self, blob: Blob, axis: int, needed: int) -> None:
        """Raises ShapeError unless the axes from `axis` on have `needed` values (-1: any)."""
        found = math.prod(blob.dims[axis:])
        if needed not in (-1, found):
            raise ShapeError(
                f"layer '{self.name}' ({self.type}): a bottom of shape {blob.dims} has {found} "
                f"values a stream, the weights need {needed}"
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks the shapes; the number of streams may change, the rest not."""
        self._check_shapes(bottom)
        streams = bottom[0].dims[1]
        top[0].reshape(self._steps, streams, self._h)
        for blob in top[1:]:
            blob.reshape(1, streams, self._h)
        for blob in self._carried:
            blob.reshape(streams, self._h)

    def _x(self, bottom: Blobs) -> Tensor:
        return bottom[0].data_tensor.reshape(-1, self._k)

    def _cont(self, bottom: Blobs) -> Tensor:
        return bottom[1].data_tensor.unsqueeze(2)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Transforms all inputs in one product of matrices, then runs the steps."""
        streams, width = bottom[0].dims[1], self.gates * self._h
        weight, bias = self.blobs[0].data_tensor, self.blobs[1].data_tensor
        x = product(self._x(bottom), weight.t(), bias).view(self._steps, streams, width)
        if self._static:
            static = bottom[2].data_tensor.reshape(streams, self._s)
            x += torch.mm(static, self.blobs[2].data_tensor.t())
        if self._exposed:
            states = [b.data_tensor.reshape(streams, self._h) for b in bottom[self._first_state :]]
        else:
            states = [blob.data_tensor for blob in self._carried]
        output, *last = self._unroll(x, self._cont(bottom), states)
        self._ran = True
        top[0].set_data(output)
        if self._exposed:
            for blob, state in zip(top[1:], last):
                blob.set_data(state.clone().unsqueeze(0))
        else:
            for blob, state in zip(self._carried, last):
                blob.set_data(state)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Runs the steps backward, then the transforms of the inputs."""
        if propagate_down[1]:
            raise GraphError(
                f"layer '{self.name}' ({self.type}) cannot backpropagate to sequence indicators "
                "(bottom 1); set propagate_down to false for it"
            )
        if not self._ran:
            raise GraphError(
                f"layer '{self.name}' ({self.type}): backward needs the steps of a forward pass, "
                "and none has run; call forward first"
            )
        gradient = self._roll_back(top[0].diff_tensor, self._cont(bottom))
        flat = gradient.reshape(-1, gradient.shape[2])
        self.blobs[0].add_diff(product(flat.t(), self._x(bottom)))
        self.blobs[1].add_diff(flat.sum(dim=0))
        if propagate_down[0]:
            bottom[0].set_diff(product(flat, self.blobs[0].data_tensor))
        if self._static:
            total = gradient.sum(dim=0)
            static = bottom[2].data_tensor.reshape(-1, self._s)
            self.blobs[2].add_diff(torch.mm(total.t(), static))
            if propagate_down[2]:
                bottom[2].set_diff(torch.mm(total, self.blobs[2].data_tensor))
        # Caffe cuts backpropagation at the batch's border: exposed first states get zeros.
        for blob, wanted in list(zip(bottom, propagate_down))[self._first_state :]:
            if wanted:
                blob.clear_diff()
