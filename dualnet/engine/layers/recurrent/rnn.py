"""RNN: the plain recurrent cell (Caffe `L/rnn_layer.cpp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dualnet.engine.layers.recurrent.recurrent import Recurrent
from dualnet.engine.layers.registry import register

__all__ = ["RNN"]


@register("RNN")
class RNN(Recurrent):
    """h_t = tanh(W_hh (cont_t h_{t-1}) + W_xh x_t + b_h), output o_t = tanh(W_ho h_t + b_o).

    Parameters: W_xh (H, K), b_h (H,), W_xh_static (H, S) with a static input, W_hh (H, H), W_ho
    (H, H), b_o (H,), where H is num_output. State: h.
    """

    states = ("h",)

    def _add_cell_params(self) -> list[str]:
        param = self.layer_param.recurrent_param
        self.add_param([self._h, self._h], param.weight_filler)
        self.add_param([self._h, self._h], param.weight_filler)
        self.add_param([self._h], param.bias_filler)
        return ["W_hh", "W_ho", "b_o"]

    def _unroll(self, x: Tensor, cont: Tensor, states: list[Tensor]) -> list[Tensor]:
        recurrent, weight, bias = (blob.data_tensor for blob in self.blobs[self._cell :])
        (h,) = states
        before, after = [], []
        for step in range(self._steps):
            before.append(h * cont[step])
            h = torch.addmm(x[step], before[-1], recurrent.t()).tanh_()
            after.append(h)
        self._before, self._after = torch.stack(before), torch.stack(after)
        # No step needs o_t: the outputs of all steps are one product of matrices.
        self._output = torch.matmul(self._after, weight.t()).add_(bias).tanh_()
        return [self._output.clone(), h]  # a copy: the published one may be overwritten in place

    def _roll_back(self, gradient: Tensor, cont: Tensor) -> Tensor:
        recurrent_blob, weight_blob, bias_blob = self.blobs[self._cell :]
        recurrent = recurrent_blob.data_tensor
        # o_t depends on h_t alone: its part of all steps at once. Then back through the steps,
        # where `later` is what step t + 1 adds to the gradient of h_t.
        outer = gradient * (1 - self._output * self._output)
        to_h = torch.matmul(outer, weight_blob.data_tensor)
        slope = 1 - self._after * self._after
        result = torch.empty_like(self._after)
        later = torch.zeros_like(self._after[0])
        for step in range(self._steps - 1, -1, -1):
            torch.mul(to_h[step] + later, slope[step], out=result[step])
            later = torch.mm(result[step], recurrent) * cont[step]
        flat_outer, flat = outer.reshape(-1, self._h), result.reshape(-1, self._h)
        recurrent_blob.add_diff(torch.mm(flat.t(), self._before.view(-1, self._h)))
        weight_blob.add_diff(torch.mm(flat_outer.t(), self._after.view(-1, self._h)))
        bias_blob.add_diff(flat_outer.sum(dim=0))
        return result
