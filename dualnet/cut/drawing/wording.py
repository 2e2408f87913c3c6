"""What a layer is, in a few words for people."""

from __future__ import annotations

from typing import Any

from dualnet.backend import caffe_pb2
from dualnet.cut.graph import batch_size_of

__all__ = ["describe", "kind_of"]

_KINDS = {
    "Convolution": "convolution",
    "Deconvolution": "convolution",
    "Pooling": "pooling",
    "SPP": "pooling",
    "InnerProduct": "dense",
}
_NAMES = {
    "LRN": "local response normalisation",
    "BatchNorm": "batch normalisation",
    "InnerProduct": "fully connected",
    "EuclideanLoss": "Euclidean loss",
    "SoftmaxWithLoss": "softmax loss",
    "SigmoidCrossEntropyLoss": "sigmoid loss",
    "Dropout": "dropout",
    "Concat": "concatenation",
}


def kind_of(layer: Any) -> str:
    """`input`, `convolution`, `pooling`, `dense`, `loss` or `other`."""
    if not layer.bottom:
        return "input"
    if layer.type.endswith("Loss") or any(layer.loss_weight):
        return "loss"
    return _KINDS.get(layer.type, "other")


def describe(layer: Any) -> str:
    """As `5×5 convolution, 32`, `fully connected, 10`; the type where nothing is known."""
    if layer.type in ("Convolution", "Deconvolution"):
        setup = layer.convolution_param
        words = f"{_size(setup)} {layer.type.lower()}, {setup.num_output}"
        words += _stride(setup.stride[0] if setup.stride else setup.stride_w or 1)
        return words + (f", {setup.group} groups" if setup.group > 1 else "")
    if layer.type == "Pooling":
        setup = layer.pooling_param
        method = caffe_pb2.PoolingParameter.PoolMethod.Name(setup.pool)
        words = {"MAX": "max", "AVE": "average", "STOCHASTIC": "stochastic"}[method] + " pooling"
        if setup.global_pooling:
            return f"global {words}"
        return f"{_size(setup)} {words}" + _stride(setup.stride or setup.stride_w or 1)
    if layer.type == "InnerProduct":
        return f"{_NAMES[layer.type]}, {layer.inner_product_param.num_output}"
    if layer.type == "Eltwise":
        name = caffe_pb2.EltwiseParameter.EltwiseOp.Name(layer.eltwise_param.operation)
        return {"SUM": "sum", "PROD": "product", "MAX": "maximum"}[name]
    if layer.type == "Python":
        return str(layer.python_param.layer)
    batch = batch_size_of(layer)
    if batch and not layer.bottom:
        return f"batches of {batch}"
    return _NAMES.get(layer.type, str(layer.type))


def _size(setup: Any) -> str:
    """The kernel, as 3×5; one number stands for both sides."""
    if setup.kernel_h or setup.kernel_w:
        return f"{setup.kernel_h}×{setup.kernel_w}"
    kernel = setup.kernel_size
    sides = [kernel, kernel] if isinstance(kernel, int) else list(kernel) * (3 - len(kernel))
    return "×".join(map(str, sides[:2]))


def _stride(stride: int) -> str:
    return f", stride {stride}" if stride > 1 else ""
