"""LSTM and its cell (Caffe `L/lstm_layer.cpp`, `lstm_unit_layer.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dualnet.engine.errors import GraphError, ShapeError
from dualnet.engine.layers.base import Blobs, Layer
from dualnet.engine.layers.in_place import refuse_in_place
from dualnet.engine.layers.recurrent.recurrent import Recurrent
from dualnet.engine.layers.registry import register

__all__ = ["LSTM", "LSTMUnit"]


class _Cell(NamedTuple):
    """One step's values, (…, H) each: i, f, o and g after their sigmoid or tanh; f times cont."""

    i: Tensor
    f: Tensor
    o: Tensor
    g: Tensor
    c: Tensor
    tanh_c: Tensor

    @property
    def h(self) -> Tensor:
        """The step's output."""
        return self.o * self.tanh_c


def _step(gates: Tensor, cont: Tensor, c_before: Tensor) -> _Cell:
    """One step.

    Args:
        gates: (…, 4 H), the inputs of the gates i, f, o and g, in this order.
        cont: (…, 1), 0 forgets the memory.
        c_before: (…, H), the memory before the step.
    """
    i, f, o, g = gates.chunk(4, dim=-1)
    i, f, o, g = i.sigmoid(), f.sigmoid() * cont, o.sigmoid(), g.tanh()
    c = f * c_before + i * g
    return _Cell(i, f, o, g, c, c.tanh())


def _step_back(cell: _Cell, c_before: Tensor, to_c: Tensor, to_h: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of `_step`.

    As in Caffe, f (1 - f) is taken for the derivative of f, which is the forget gate times cont.
    That is its derivative only for cont 0 and 1.

    Args:
        cell: the step's values.
        c_before: (…, H), the memory before the step.
        to_c: (…, H), the gradient of the memory after it.
        to_h: (…, H), the gradient of the output.

    Returns:
        The gradients of `gates` (…, 4 H) and of `c_before` (…, H).
    """
    i, f, o, g, _, tanh_c = cell
    to_c = to_c + to_h * o * (1 - tanh_c * tanh_c)
    parts = [
        to_c * g * i * (1 - i),
        to_c * c_before * f * (1 - f),
        to_h * tanh_c * o * (1 - o),
        to_c * i * (1 - g * g),
    ]
    return torch.cat(parts, dim=-1), to_c * f


@register("LSTM")
class LSTM(Recurrent):
    """Long short-term memory: c_t = cont_t f c_{t-1} + i g, h_t = o tanh(c_t).

    The gates' inputs are W_hc (cont_t h_{t-1}) + W_xc x_t + b_c in the order i, f, o, g, where i, f
    and o pass a sigmoid and g a tanh. Parameters: W_xc (4 H, K), b_c (4 H,), W_xc_static (4 H, S)
    with a static input, W_hc (4 H, H), where H is num_output. States: h and c.
    """

    states = ("h", "c")
    gates = 4
    letter = "c"

    def _add_cell_params(self) -> list[str]:
        self.add_param([4 * self._h, self._h], self.layer_param.recurrent_param.weight_filler)
        return ["W_hc"]

    def _unroll(self, x: Tensor, cont: Tensor, states: list[Tensor]) -> list[Tensor]:
        weight = self.blobs[self._cell].data_tensor.t()
        h, c = states
        self._first_c = c
        self._cells: list[_Cell] = []
        # cont_t h_{t-1} of all steps is kept: the gradient of W_hc is then one product of matrices
        # with T N rows, instead of T small ones.
        before, outputs = [], []
        for step in range(self._steps):
            before.append(h * cont[step])
            cell = _step(torch.addmm(x[step], before[-1], weight), cont[step], c)
            h, c = cell.h, cell.c
            self._cells.append(cell)
            outputs.append(h)
        self._before = torch.stack(before)
        return [torch.stack(outputs), h, c]

    def _roll_back(self, gradient: Tensor, cont: Tensor) -> Tensor:
        blob = self.blobs[self._cell]
        weight = blob.data_tensor
        to_h = to_c = torch.zeros_like(self._first_c)
        results: list[Tensor] = []
        for step in range(self._steps - 1, -1, -1):
            c_before = self._cells[step - 1].c if step else self._first_c
            result, to_c = _step_back(self._cells[step], c_before, to_c, gradient[step] + to_h)
            to_h = torch.mm(result, weight) * cont[step]  # h_{t-1} enters step t as cont_t h_{t-1}
            results.append(result)
        stacked = torch.stack(results[::-1])
        flat = stacked.view(-1, 4 * self._h)
        blob.add_diff(torch.mm(flat.t(), self._before.view(-1, self._h)))
        return stacked


@register("LSTMUnit")
class LSTMUnit(Layer):
    """One step of an LSTM's cell.

    Bottoms: the memory c_{t-1} (1, N, H), the gates' inputs (1, N, 4 H), cont (1, N). Tops: c_t and
    h_t, (1, N, H) each.
    """

    bottoms = 3
    tops = 2

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The continuation indicators get no gradient."""
        return bottom_index != 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Checks the blobs; the backward pass needs the memory before the step."""
        refuse_in_place(self, bottom, top)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Checks the shapes, which follow from the memory's."""
        memory = bottom[0].dims
        if len(memory) != 3 or memory[0] != 1:
            raise ShapeError(
                f"layer '{self.name}' (LSTMUnit): bottom 0 must have shape (1, streams, values), "
                f"it has {memory}"
            )
        for index, needed in ((1, (1, memory[1], 4 * memory[2])), (2, memory[:2])):
            if bottom[index].dims != needed:
                raise ShapeError(
                    f"layer '{self.name}' (LSTMUnit): bottom {index} must have shape {needed} for "
                    f"a bottom 0 of shape {memory}, it has {bottom[index].dims}"
                )
        for blob in top:
            blob.reshape_like(bottom[0])

    def _run(self, bottom: Blobs) -> _Cell:
        c_before, gates, cont = (blob.data_tensor for blob in bottom)
        return _step(gates, cont.unsqueeze(2), c_before)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        cell = self._run(bottom)
        top[0].set_data(cell.c)
        top[1].set_data(cell.h)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[2]:
            raise GraphError(
                f"layer '{self.name}' (LSTMUnit) cannot backpropagate to sequence indicators "
                "(bottom 2); set propagate_down to false for it"
            )
        if not any(propagate_down):
            return
        cell = self._run(bottom)
        c_before, to_c = bottom[0].data_tensor, top[0].diff_tensor
        to_gates, to_memory = _step_back(cell, c_before, to_c, top[1].diff_tensor)
        if propagate_down[0]:
            bottom[0].set_diff(to_memory)
        if propagate_down[1]:
            bottom[1].set_diff(to_gates)
