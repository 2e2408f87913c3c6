"""What is recorded in a file that `dualnet export` wrote."""

from __future__ import annotations

import json
import os
from typing import Any

from dualnet.engine.export.texts import read_onnx_text, read_pt2_text
from dualnet.errors import StorageFailed, UsageError

__all__ = ["FACTS", "describe", "kind_of"]

#: What the record is called in the file.
FACTS = "preprocessing.json"

_READERS = {".pt2": read_pt2_text, ".onnx": read_onnx_text}


def kind_of(path: str) -> str:
    """What a file is by its extension: .pt2 or .onnx.

    Raises:
        UsageError: It is neither.
    """
    kind = os.path.splitext(path)[1]
    if kind not in _READERS:
        raise UsageError(f"{path}: the file's name must end in {' or '.join(_READERS)}")
    return kind


def describe(path: str) -> dict[str, Any]:
    """Inputs, outputs, preprocessing and classes of an exported net.

    Returns:
        The record, but for the values of mean images: their base64 is replaced by its length.

    Raises:
        UsageError: It is no file of `dualnet export`.
        StorageFailed: It cannot be read.
        CaffeError: It is damaged, or the package onnx is missing.
    """
    try:
        text = _READERS[kind_of(path)](path, FACTS)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read: {error.strerror}") from error
    if text is None:
        raise UsageError(f"{path}: has no {FACTS}: dualnet export did not write it")
    facts: dict[str, Any] = json.loads(text)
    for entry in facts["inputs"].values():
        mean = entry.get("mean_image")
        if mean and mean["base64"]:
            mean["base64"] = f"({len(mean['base64'])} characters)"
    return facts
