"""One SHA-256 over the weights and solver history of all pieces of a run."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from dualnet.backend import caffe_pb2
from dualnet.engine.formats.regular_file import regular_only
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files

__all__ = ["digest"]


def digest(run: RunDir, iteration: int | None = None) -> str:
    """SHA-256 (hex) over the latest snapshot's weights and solver history, of all pieces.

    It depends on names, shapes and values only, neither on paths in the files nor on the order in
    which a provider writes fields: equal training gives an equal digest anywhere.

    Args:
        run: The run.
        iteration: A snapshot's iteration; default the latest.

    Raises:
        UsageError: There is no such snapshot, or it is damaged.
    """
    number, pieces = caffe_files.find(run, iteration)
    total = hashlib.sha256(f"iteration {number}\n".encode())
    for piece in pieces:
        files = piece.at(number)
        net = _read(files.weights, caffe_pb2.NetParameter())
        state = _read(files.state, caffe_pb2.SolverState())
        for layer in net.layer:
            for i, blob in enumerate(layer.blobs):
                _add(total, f"{piece.name} weight {layer.name}.{i}", blob)
        for i, blob in enumerate(state.history):
            _add(total, f"{piece.name} history {i}", blob)
    return total.hexdigest()


def _read(path: str, message: Any) -> Any:
    with open(path, "rb", opener=regular_only) as file:
        message.ParseFromString(file.read())
    return message


def _add(total: Any, name: str, blob: Any) -> None:
    values = np.array(blob.data if len(blob.data) else blob.double_data, np.float32)
    total.update(f"{name} {list(blob.shape.dim)}\n".encode())
    total.update(values.astype("<f4").tobytes())
