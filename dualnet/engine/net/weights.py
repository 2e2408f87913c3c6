"""Weights in Caffe's own formats: caffemodel (binary protobuf) and HDF5 (`net.cpp`, `blob.cpp`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from dualnet.engine import log
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import WeightsError, quoted
from dualnet.engine.formats.atomic_write import write_atomically
from dualnet.engine.formats.blob_proto import blob_from_proto, blob_to_proto
from dualnet.engine.formats.hdf5_file import member, read_values, reading, writing
from dualnet.engine.formats.prototxt import Path, read_binary
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.formats.upgrade import upgrade_net
from dualnet.engine.net.node import Node
from dualnet.engine.net.structure import NetStructure
from dualnet.engine.proto import caffe_pb2

__all__ = [
    "check_same_parameters",
    "copy_from",
    "first_of_each_name",
    "load_hdf5",
    "save_binary",
    "save_hdf5",
]


def copy_from(structure: NetStructure, path: Path) -> None:
    """Copies the weights of all layers that a stored net has too, by layer name.

    Layers that only one of the two has are logged and left alone. As in Caffe a file without any
    common layer is no error, but there is a warning.

    Raises:
        WeightsError: a layer of that name has other parameters.
    """
    if _is_hdf5(path):
        load_hdf5(structure, path)
        return
    stored = read_binary(path, caffe_pb2.NetParameter)
    upgrade_net(stored, os.fspath(path))
    nodes = first_of_each_name(structure)
    copied = 0
    for layer in stored.layer:
        node = nodes.get(layer.name)
        if node is None:
            log.info(f"Ignoring source layer {layer.name}")
            continue
        blobs = node.layer.blobs
        if len(blobs) != len(layer.blobs):
            raise WeightsError(
                f"'{os.fspath(path)}', layer '{layer.name}': {len(layer.blobs)} parameters are "
                f"stored, the net's layer has {len(blobs)}; rename the layer to keep its initial "
                "values"
            )
        for index, blob in enumerate(blobs):
            where = f"'{os.fspath(path)}', layer '{layer.name}', parameter {index}"
            blob_from_proto(blob, layer.blobs[index], where)
        copied += bool(blobs)
    _warn_of_nothing(structure, path, copied, [layer.name for layer in stored.layer if layer.blobs])


def first_of_each_name(structure: NetStructure) -> dict[str, Node]:
    """Layers by name; of several with one name the first, as Caffe finds them."""
    nodes: dict[str, Node] = {}
    for node in structure.nodes:
        nodes.setdefault(node.name, node)
    return nodes


def _warn_of_nothing(
    structure: NetStructure, path: Path, copied: int, stored: Sequence[str]
) -> None:
    needs = [node.name for node in structure.nodes if node.layer.blobs]
    if needs and not copied:
        log.warning(
            f"'{os.fspath(path)}' gave no weights: those of its layers that have some are "
            f"{quoted(stored[:8])}, the net's are {quoted(needs[:8])}; they are copied by name"
        )


def save_binary(structure: NetStructure, path: Path, write_diff: bool = False) -> None:
    """Writes a caffemodel: the net's layers with their parameters."""
    net = caffe_pb2.NetParameter(name=structure.message.name)
    for node in structure.nodes:
        layer = net.layer.add()
        layer.CopyFrom(node.param)
        del layer.blobs[:]
        for blob in node.layer.blobs:
            blob_to_proto(blob, layer.blobs.add(), write_diff)
    write_atomically(path, net.SerializeToString())


def save_hdf5(structure: NetStructure, path: Path, write_diff: bool = False) -> None:
    """Writes the weights as HDF5: /data/LAYER/INDEX and, if asked, /diff/LAYER/INDEX."""
    with writing(os.fspath(path)) as stream:
        data = stream.create_group("data")
        diff = stream.create_group("diff") if write_diff else None
        for node in structure.nodes:
            if not node.name:
                if node.param_ids:
                    raise WeightsError(
                        f"'{os.fspath(path)}': a {node.param.type} layer with weights has no name, "
                        "by which HDF5 would hold them: name it"
                    )
                continue
            # It may be there: layers without weights share names, and `a/b` makes `a`.
            group = data.require_group(node.name)
            diffs = diff.require_group(node.name) if diff is not None else None
            if "0" in group and node.param_ids:
                raise WeightsError(
                    f"'{os.fspath(path)}': two layers with weights are called '{node.name}'; HDF5 "
                    "holds one of each name: rename one"
                )
            for index, number in enumerate(node.param_ids):
                # Stored under the layer that owns it; others that share it have a gap (Caffe).
                param = structure.params[number]
                if param.owner == number:  # parameters that share memory are stored once
                    group.create_dataset(str(index), data=param.blob.data)
                if diffs is not None:
                    diffs.create_dataset(str(index), data=param.blob.diff)


def load_hdf5(structure: NetStructure, path: Path) -> None:
    """Reads weights that `save_hdf5` or BVLC Caffe wrote.

    Raises:
        WeightsError: a layer of a stored name has other parameters.
    """
    with reading(os.fspath(path)) as stream:
        where = f"'{os.fspath(path)}'"
        data = member(stream, "data", where)
        nodes = first_of_each_name(structure)
        # A slash in a layer's name makes groups within groups.
        known = {name.split("/")[0] for name in nodes}
        names = list(data.keys())
        for name in names:
            if name not in known:
                log.info(f"Ignoring source layer {name}")
        copied = 0
        for name, node in nodes.items():
            if not name or name not in data:
                continue
            group = member(data, name, where)
            blobs: Sequence[Blob] = node.layer.blobs
            # Keys that are not numbers are groups of layers called NAME/KEY.
            stored = [key for key in group if key.isdigit()]
            if len(stored) > len(blobs):
                raise WeightsError(
                    f"'{os.fspath(path)}', layer '{name}': {len(stored)} parameters are stored, "
                    f"the net's layer has {len(blobs)}; rename the layer to keep its initial values"
                )
            if not stored and len(group):
                continue
            for index, number in enumerate(node.param_ids):
                _load_dataset(
                    structure, group, index, number, f"'{os.fspath(path)}', layer '{name}'"
                )
            copied += len(stored) > 0
        _warn_of_nothing(structure, path, copied, names)


def _load_dataset(structure: NetStructure, group: Any, index: int, number: int, where: str) -> None:
    param = structure.params[number]
    if str(index) not in group:
        if param.owner != number:
            return
        raise WeightsError(f"{where}: parameter {index} is missing")
    values = read_values(
        member(group, str(index), where), param.blob.dims, f"{where}, parameter {index}"
    )
    param.blob.set_data(torch.from_numpy(values))


def check_same_parameters(name: str, mine: Sequence[Blob], theirs: Sequence[Blob]) -> None:
    """Raises WeightsError unless two layers' parameters can share their memory.

    Args:
        name: the layers' common name.
        mine: the parameters of one.
        theirs: those of the other.
    """
    shapes = [blob.dims for blob in mine], [blob.dims for blob in theirs]
    if shapes[0] != shapes[1]:
        raise WeightsError(
            f"layer '{name}' has parameters of shapes {shapes[0]} here and {shapes[1]} in the "
            "other net; only equal ones can be shared"
        )


def _is_hdf5(path: Path) -> bool:
    try:
        with open(path, "rb", opener=regular_only) as stream:
            return stream.read(8) == b"\x89HDF\r\n\x1a\n"
    except (OSError, ValueError):
        return False  # the reader that follows says why
