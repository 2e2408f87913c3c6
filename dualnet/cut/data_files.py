"""The files that data layers read, and whether they are there: BVLC Caffe ends the process else."""

from __future__ import annotations

import os
from typing import Any

from dualnet.cut.graph import BATCH_FIELDS

__all__ = ["missing_file"]


def missing_file(layer: Any) -> str:
    """`its source 'PATH'` or `its mean_file 'PATH'`, whichever is not there; "" if all are."""
    param = getattr(layer, BATCH_FIELDS[layer.type]) if layer.type in BATCH_FIELDS else None
    source = getattr(param, "source", None)  # MemoryData has none
    if source is not None and not os.path.exists(source):
        return f"its source {source!r}"
    mean = layer.transform_param.mean_file
    if mean and not os.path.exists(mean):
        return f"its mean_file {mean!r}"
    return ""
