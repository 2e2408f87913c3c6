"""Python Caffe layers for prototxt: losses on the distance between conv3 and conv3p.

Use in prototxt, on either provider (a Python loss without `loss_weight` gets no gradient, which
left the thesis's net1 frozen, section 10.4):

    layer {
      name: "loss"
      type: "Python"
      bottom: "conv3"
      bottom: "conv3p"
      top: "loss"
      loss_weight: 1
      python_param { module: "dualnet.layers" layer: "NormalizedEuclideanLossLayer" }
    }

Bottoms are two blobs of one shape, usually (N, C, H, W) float32; the top is a scalar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualnet.backend import caffe
from dualnet.config.yaml_text import BadYaml, parse_yaml

__all__ = ["EuclideanLossLayer", "NormalizedEuclideanLossLayer", "RelativeEuclideanLossLayer"]


class _PairLossLayer(caffe.Layer):  # type: ignore[misc]
    """What losses on a pair of equal shapes share: checks, and the factor from the top."""

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        if len(bottom) != 2 or len(top) != 1:
            raise ValueError(
                f"{type(self).__name__}: needs 2 bottoms and 1 top, has {len(bottom)} and "
                f"{len(top)}"
            )

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        # By index: BVLC Caffe's vector of blobs can be indexed, but not iterated over.
        shapes = [tuple(bottom[i].shape) for i in range(2)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{type(self).__name__}: bottoms must have one shape, are {shapes[0]} and "
                f"{shapes[1]}"
            )
        self.difference = np.zeros(shapes[0], np.float32)
        top[0].reshape(1)

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Any) -> None:
        # top[0].diff holds loss_weight: without it, the weight in prototxt would change nothing.
        weight = float(top[0].diff.flat[0])
        for i, gradient in enumerate(self.gradients(bottom)):
            if propagate_down[i]:
                bottom[i].diff[...] = weight * gradient

    def gradients(self, bottom: Sequence[Any]) -> Sequence[np.ndarray]:
        """Gradients of the loss with respect to both bottoms, shaped like them."""
        raise NotImplementedError


class EuclideanLossLayer(_PairLossLayer):
    """The thesis's listing (section 10.4): sqrt(sum d^2) / N / 2, with d = bottom[0] - bottom[1].

    The square root makes the gradient d / (2 N |d|). Its length is 1/(2N) whatever the distance, so
    it does not vanish near the minimum: kept to reproduce the thesis. Where d is zero the gradient
    is taken as zero.
    """

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self.difference[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = _norm(self.difference) / len(self.difference) / 2.0

    def gradients(self, bottom: Sequence[Any]) -> Sequence[np.ndarray]:
        norm = _norm(self.difference)
        if norm == 0.0:
            zero = np.zeros_like(self.difference)
            return zero, zero
        gradient = self.difference / np.float32(2.0 * len(self.difference) * norm)
        return gradient, -gradient


class NormalizedEuclideanLossLayer(_PairLossLayer):
    """Thesis equation (10.3): sum_n |a_n - b_n|^2 / (2 N (|a|^2 + |b|^2)), norms over the batch.

    `param_str: "norms: through"` (the default) differentiates the norms too, as (10.3) asks;
    `"norms: constant"` treats the denominator as a number, which keeps the direction of the
    Euclidean gradient and only rescales it. Where both outputs are zero, loss and gradients are.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        super().setup(bottom, top)
        try:
            options = parse_yaml(self.param_str) or {}
        except BadYaml as error:
            raise ValueError(f"{type(self).__name__}: param_str: {error}") from error
        self.norms = options.get("norms", "through") if isinstance(options, dict) else options
        if self.norms not in ("through", "constant"):
            raise ValueError(
                f"{type(self).__name__}: param_str norms: {self.norms!r} is neither through nor "
                "constant"
            )

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self.difference[...] = bottom[0].data - bottom[1].data
        self.squares = _norm(bottom[0].data) ** 2 + _norm(bottom[1].data) ** 2
        scale = 2.0 * len(self.difference) * self.squares
        self.loss = _norm(self.difference) ** 2 / scale if scale else 0.0
        top[0].data[...] = self.loss

    def gradients(self, bottom: Sequence[Any]) -> Sequence[np.ndarray]:
        if self.squares == 0.0:
            zero = np.zeros_like(self.difference)
            return zero, zero
        direct = self.difference / np.float32(len(self.difference) * self.squares)
        if self.norms == "constant":
            return direct, -direct
        # d/da of 1/(|a|^2 + |b|^2): the quotient rule's second term, which is radial.
        radial = np.float32(2.0 * self.loss / self.squares)
        return direct - radial * bottom[0].data, -direct - radial * bottom[1].data


class RelativeEuclideanLossLayer(_PairLossLayer):
    """The squared distance relative to x: sum_n |a_n - b_n|^2 / (2 sum_n |a_n|^2), a = bottom[0].

    The denominator is held constant in the gradient (a - b) / sum |a|^2, so that neither shrinking
    nor growing x lowers the loss. With a gradient target in units of x's size (dualnet/coupling)
    this is the back-propagated gradient. Where a is zero, loss and gradients are.
    """

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self.difference[...] = bottom[0].data - bottom[1].data
        self.squares = _norm(bottom[0].data) ** 2
        square = _norm(self.difference) ** 2
        top[0].data[...] = square / (2.0 * self.squares) if self.squares else 0.0

    def gradients(self, bottom: Sequence[Any]) -> Sequence[np.ndarray]:
        if self.squares == 0.0:
            zero = np.zeros_like(self.difference)
            return zero, zero
        gradient = self.difference / np.float32(self.squares)
        return gradient, -gradient


def _norm(values: np.ndarray) -> float:
    """Euclidean norm over all elements, summed in double: a batch has millions of elements."""
    flat = np.asarray(values, np.float64).ravel()
    return float(np.sqrt(np.dot(flat, flat)))
