"""Snapshots of weights and solver state in Caffe's own formats (`solver.cpp`, `sgd_solver.cpp`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import WeightsError
from dualnet.engine.formats.atomic_write import write_atomically
from dualnet.engine.formats.blob_proto import blob_from_proto, blob_to_proto
from dualnet.engine.formats.hdf5_file import (
    h5py_module,
    member,
    read_number,
    read_text,
    read_values,
    reading,
    writing,
)
from dualnet.engine.formats.prototxt import Path, read_binary
from dualnet.engine.proto import caffe_pb2

__all__ = ["State", "check_writable", "filename", "read_state", "weights_path", "write_state"]

BINARY = caffe_pb2.SolverParameter.BINARYPROTO


@dataclass
class State:
    """What a solverstate holds besides the history.

    Attributes:
        iteration: completed updates.
        current_step: steps that the learning-rate policy has passed.
        learned_net: the file with the weights.
    """

    iteration: int
    current_step: int
    learned_net: str


def filename(param: caffe_pb2.SolverParameter, iteration: int, extension: str) -> str:
    """`PREFIX_iter_N.caffemodel` or `.solverstate`, with `.h5` appended for HDF5."""
    suffix = "" if param.snapshot_format == BINARY else ".h5"
    return f"{param.snapshot_prefix}_iter_{iteration}{extension}{suffix}"


def weights_path(state_file: Path, learned_net: str) -> str:
    """The weights that a solverstate names, or the file of that name beside it if there is none.

    Caffe stores the path as text, so that it fails from another working directory, and after the
    run's folder was moved.
    """
    beside = os.path.join(os.path.dirname(os.fspath(state_file)), os.path.basename(learned_net))
    if not os.path.exists(learned_net) and os.path.exists(beside):
        return beside
    return learned_net


def check_writable(param: caffe_pb2.SolverParameter) -> None:
    """Checks that snapshots can be written, if any are asked for: before the training, not after.

    Creates and removes an empty file `PREFIX.tempfile`, as Caffe does.

    Raises:
        WeightsError: it cannot be created.
    """
    if not param.snapshot:
        return
    probe = f"{param.snapshot_prefix}.tempfile"
    try:
        with open(probe, "wb"):
            pass
        os.unlink(probe)
    except OSError as error:
        raise WeightsError(
            f"cannot write to snapshot prefix '{param.snapshot_prefix}': {error.strerror}; make "
            "sure that the directory exists and is writeable"
        ) from error


def write_state(path: str, state: State, history: Sequence[Blob]) -> None:
    """Writes a solverstate; the extension `.h5` chooses HDF5."""
    if path.endswith(".h5"):
        _write_hdf5(path, state, history)
        return
    message = caffe_pb2.SolverState(
        iter=state.iteration, current_step=state.current_step, learned_net=state.learned_net
    )
    for blob in history:
        blob_to_proto(blob, message.history.add())
    write_atomically(path, message.SerializeToString())


def read_state(path: Path, history: Sequence[Blob]) -> State:
    """Reads a solverstate into the history.

    Raises:
        WeightsError: the file does not fit the solver.
    """
    if os.fspath(path).endswith(".h5"):
        return _read_hdf5(os.fspath(path), history)
    message = read_binary(path, caffe_pb2.SolverState)
    _check_count(path, len(message.history), len(history))
    # In the order of `UpdateRule.history`, which both Caffes share.
    for index, blob in enumerate(history):
        where = f"'{os.fspath(path)}', history {index}"
        blob_from_proto(blob, message.history[index], where)
    if not isinstance(message.learned_net, str):  # protobuf hands out what is no UTF-8 as bytes
        raise WeightsError(
            f"'{os.fspath(path)}' names a weights file that is not UTF-8: {message.learned_net!r}; "
            "the file is damaged"
        )
    return State(message.iter, message.current_step, message.learned_net)


def _check_count(path: Path, stored: int, needed: int) -> None:
    if stored != needed:
        raise WeightsError(
            f"'{os.fspath(path)}' holds {stored} history blobs, this solver needs {needed}; "
            "restore it with the solver type and net that wrote it"
        )


def _write_hdf5(path: str, state: State, history: Sequence[Blob]) -> None:
    with writing(path) as stream:
        stream.create_dataset("iter", data=np.array([state.iteration], np.int32))
        stream.create_dataset("current_step", data=np.array([state.current_step], np.int32))
        _write_string(stream, "learned_net", state.learned_net)
        group = stream.create_group("history")
        for index, blob in enumerate(history):
            group.create_dataset(str(index), data=blob.data)


def _write_string(stream: Any, name: str, text: str) -> None:
    """Stores a string as C does: BVLC Caffe reads up to the terminating zero, wherever that is."""
    h5py = h5py_module()
    content = text.encode() + b"\0"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(content))
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(stream.id, name.encode(), kind, space)
    dataset.write(space, space, np.array(content, dtype=f"S{len(content)}"), kind)


def _read_hdf5(path: str, history: Sequence[Blob]) -> State:
    with reading(path) as stream:
        where = f"'{path}'"
        group = member(stream, "history", where)
        _check_count(path, len(group), len(history))
        for index, blob in enumerate(history):
            place = f"{where}, history {index}"
            values = read_values(member(group, str(index), where), blob.dims, place)
            blob.set_data(torch.from_numpy(values))
        name = ""
        if "learned_net" in stream:
            name = read_text(member(stream, "learned_net", where), f"{where}: 'learned_net'")
        numbers = [
            read_number(member(stream, key, where), f"{where}: '{key}'")
            for key in ("iter", "current_step")
        ]
    return State(numbers[0], numbers[1], name)
