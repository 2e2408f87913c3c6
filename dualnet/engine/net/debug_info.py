"""What `debug_info: true` writes to the log: the mean size of data and gradients (`net.cpp`).

It shows where values vanish or explode. Each number is the mean of absolute values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from dualnet.engine import log
from dualnet.engine.net.node import Node
from dualnet.engine.net.structure import NetStructure

__all__ = ["show_backward", "show_forward", "show_params"]


def show_forward(structure: NetStructure, node: Node) -> None:
    """One line for each top and parameter of a layer that has run forward."""
    for blob, number in zip(node.tops, node.top_ids):
        name = structure.blob_names[number]
        log.info(
            f"    [Forward] Layer {node.name}, top blob {name} data: {_mean(blob.data_tensor):g}"
        )
    for blob, number in zip(node.layer.blobs, node.param_ids):
        log.info(
            f"    [Forward] Layer {node.name}, param blob {_param_name(structure, number)} data: "
            f"{_mean(blob.data_tensor):g}"
        )


def show_backward(structure: NetStructure, node: Node) -> None:
    """One line for each gradient that a layer has computed."""
    if not node.need_backward:
        return
    for blob, number, wanted in zip(node.bottoms, node.bottom_ids, node.bottom_need_backward):
        if wanted:
            log.info(
                f"    [Backward] Layer {node.name}, bottom blob "
                f"{structure.blob_names[number]} diff: "
                f"{_mean(blob.diff_tensor):g}"
            )
    for index in range(len(node.param_ids)):  # by number here, whatever their names, as in Caffe
        if node.layer.wants_param(index):
            log.info(
                f"    [Backward] Layer {node.name}, param blob {index} diff: "
                f"{_mean(node.layer.blobs[index].diff_tensor):g}"
            )


def show_params(structure: NetStructure) -> None:
    """One line for all parameters after a full backward pass; an error line in Caffe too."""
    blobs = [structure.params[number].blob for number in structure.learnable]
    data = _norms([blob.data_tensor for blob in blobs])
    diff = _norms([blob.diff_tensor for blob in blobs])
    log.error(
        f"    [Backward] All net params (data, diff): L1 norm = ({data[0]:g}, {diff[0]:g}); "
        f"L2 norm = ({data[1]:g}, {diff[1]:g})"
    )


def _mean(values: Tensor) -> float:
    return float(values.abs().sum()) / max(values.numel(), 1)


def _norms(tensors: Sequence[Tensor]) -> tuple[float, float]:
    return (
        sum(float(t.abs().sum()) for t in tensors),
        math.sqrt(sum(float(t.square().sum()) for t in tensors)),
    )


def _param_name(structure: NetStructure, number: int) -> str:
    param = structure.params[number]
    return str(param.spec.name or param.index)
