"""Which layers can be exported, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterable

from dualnet.engine.errors import UnsupportedError
from dualnet.engine.net.node import Node

__all__ = ["EXPORTED", "check_layers", "refuse"]

#: The types that are tested in both formats. What is here and not in operations.py is traced.
EXPORTED = {
    "AbsVal", "ArgMax", "Axpy", "BN", "BNLL", "BatchNorm", "Bias", "Clip", "Concat", "Convolution",
    "ConvolutionDepthwise", "Crop", "Deconvolution", "DepthwiseConvolution", "Dropout", "ELU",
    "Eltwise", "Embed", "Exp", "Flatten", "Im2col", "InnerProduct", "Input", "Interp", "LRN",
    "Log", "MVN", "Normalize", "PReLU", "Parameter", "Permute", "Pooling", "Power", "ReLU",
    "ReLU6", "Reduction", "Reshape", "SPP", "Scale", "ShuffleChannel", "Sigmoid", "Silence",
    "Slice", "Softmax", "Split", "Swish", "TanH", "Threshold", "Tile", "Upsample",
}  # fmt: skip

_STEPS = "steps along axis 0, which is the batch of an exported net; export the net below it"
_ROWS = "has as many rows as its input's values say; export the net below it"
_REGIONS = "pools each region by its own coordinates; export the net below it"
_REASONS = {
    "Python": "is Python code of its own, which PyTorch cannot trace; use a layer of Caffe's",
    "LSTM": _STEPS,
    "LSTMUnit": _STEPS,
    "RNN": _STEPS,
    "Filter": _ROWS,
    "BatchReindex": _ROWS,
    "ROIPooling": _REGIONS,
    "PSROIPooling": _REGIONS,
    "DummyData": "makes a batch of a fixed size; feed it by an Input layer",
    "PriorBox": "makes boxes that are the same for each image; export the net below it",
}


def check_layers(nodes: Iterable[Node]) -> None:
    """Refuses a net with layers of which is known that they cannot be exported.

    Raises:
        UnsupportedError: names each of them, its type, the reason and what to do.
    """
    refuse((node, _reason(node)) for node in nodes)


def refuse(reasons: Iterable[tuple[Node, str]]) -> None:
    """Raises where there is a reason.

    Args:
        reasons: layers and why they cannot be exported; "" where they can.

    Raises:
        UnsupportedError: all of them in one line.
    """
    found = [f"layer '{node.name}' ({node.param.type}) {why}" for node, why in reasons if why]
    if found:
        raise UnsupportedError(f"the net cannot be exported: {'; '.join(found)}")


def _reason(node: Node) -> str:
    kind = node.param.type
    if kind in _REASONS:
        return _REASONS[kind]
    if kind not in EXPORTED:
        return "is of a type that export does not have; export the net below it"
    if kind == "Upsample" and len(node.bottoms) > 1:
        return "puts values where a mask says; export the net below it"
    if kind == "Dropout" and node.param.dropout_param.sample_weights_test:
        return "draws random numbers in tests, too; remove sample_weights_test"
    return ""
