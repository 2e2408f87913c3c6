"""What a trained net wants its images made into, and what its classes are called."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from dualnet.cut.deploy import Deploy
from dualnet.cut.graph import BATCH_FIELDS
from dualnet.data.mean import read_mean
from dualnet.data.sets.prepare import DATA_SETS, DataSet
from dualnet.training.outcome.whole import Joined

__all__ = ["preprocessing"]


def preprocessing(
    joined: Joined, deploy: Deploy, shapes: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """What users of an exported net have to know of it, for JSON.

    Args:
        joined: The net in training and test.
        deploy: What is exported of it.
        shapes: The shapes of the deploy net's blobs; axis 0 counts samples.

    Returns:
        {"inputs", "outputs", "classes"}; docs/howto/export.md explains the keys of an input.
    """
    sources = {top: layer for layer in joined.graph.layers if not layer.bottom for top in layer.top}
    inputs = {blob: _input(blob, sources[blob], shapes[blob]) for blob in deploy.inputs}
    outputs = {
        blob: {"shape": _open(shapes[blob]), "made_by": head.kind or None, "of": head.blob}
        for blob, head in deploy.predictions.items()
    }
    counts = {shapes[blob][1] for blob in outputs if len(shapes[blob]) > 1}
    found = [_classes(sources[blob], counts) for blob in deploy.inputs]
    named = next((names for names in found if names), None)
    return {"inputs": inputs, "outputs": outputs, "classes": named}


def _open(shape: Sequence[int]) -> list[Any]:
    """A shape whose batch may have any size."""
    return ["batch", *map(int, shape[1:])]


def _input(blob: str, layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    """What one input is: for images that a data layer transforms, how."""
    found: dict[str, Any] = {"shape": _open(shape), "dtype": "float32", "layer": layer.type}
    # Layers that read images have the batch in their first top, labels in the next.
    if layer.type not in BATCH_FIELDS or layer.type == "HDF5Data" or blob != layer.top[0]:
        return found
    param = layer.transform_param
    found["channel_order"] = "grey" if shape[1] == 1 else _channel_order(layer)
    found["resize"] = _resize(layer)
    found["crop_size"] = int(param.crop_size) or None
    found["crop"] = "centre" if param.crop_size else None
    found["mean_value"] = [float(value) for value in param.mean_value] or None
    found["mean_image"] = _mean_image(param.mean_file) if param.mean_file else None
    found["scale"] = float(param.scale)
    found["mirror"] = False  # a matter of training
    return found


def _resize(layer: Any) -> Optional[list[int]]:
    """Height and width that ImageData makes of each image."""
    param = layer.image_data_param
    is_sized = layer.type == "ImageData" and param.new_height and param.new_width
    return [int(param.new_height), int(param.new_width)] if is_sized else None


def _mean_image(path: str) -> dict[str, Any]:
    """A mean image, (C, H, W) float32; its values are None where the file is not here."""
    if not os.path.exists(path):
        return {"file": os.path.basename(path), "base64": None}
    mean = np.ascontiguousarray(read_mean(path), "<f4")
    content = base64.b64encode(mean.tobytes()).decode()
    return {"dtype": "<f4", "shape": list(mean.shape), "base64": content}


def _folder(layer: Any) -> Optional[Path]:
    """Where a data layer's data set lies."""
    source = getattr(getattr(layer, BATCH_FIELDS.get(layer.type, ""), None), "source", "")
    return Path(source).parent if source else None


def _labels(layer: Any) -> Optional[Path]:
    """The names of the classes, which `dualnet data images` writes beside the database."""
    folder = _folder(layer)
    path = folder / "labels.txt" if folder is not None else None
    return path if path is not None and path.is_file() else None


def _known(layer: Any) -> Optional[DataSet]:
    """The data set that `dualnet data` makes in a folder of this name."""
    folder = _folder(layer)
    return DATA_SETS.get(folder.name) if folder is not None and not _labels(layer) else None


def _channel_order(layer: Any) -> str:
    """The order of colours in the data set: that of OpenCV, with which Caffe reads images."""
    known = _known(layer)
    return known.channel_order if known is not None else "BGR"


def _classes(layer: Any, counts: set[int]) -> Optional[list[str]]:
    """The names of the classes, if the data set has as many as there are scores."""
    labels, known = _labels(layer), _known(layer)
    found: Optional[list[str]] = list(known.classes) if known is not None else None
    if labels is not None:
        found = labels.read_text(encoding="utf-8", errors="replace").splitlines()
    return found if found is not None and len(found) in counts else None
