"""What a file of weights holds, read without a net: layers, shapes and values.

Caffe copies weights by layer name, ends the process where shapes differ, and accepts a file of
which no layer fits. Reading the file first allows one message for either, on both providers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from dualnet.backend import caffe_pb2
from dualnet.engine.errors import CaffeError
from dualnet.engine.formats.file_kind import HEAD_BYTES, guess_kind
from dualnet.engine.formats.hdf5_file import h5py_module, is_elsewhere, reading
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.proto.fork_numbers import settled
from dualnet.errors import ConfigError

__all__ = ["Shape", "StoredLayer", "WeightsFile", "read_weights_file"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Slashes that a layer's name has at most.
_DEEPEST = 8
_LEGACY = ("num", "channels", "height", "width")


class Shape(NamedTuple):
    """The shape of a stored parameter."""

    dims: tuple[int, ...]
    #: Written as four numbers (before 2014): ones in front say nothing.
    is_legacy: bool = False

    def fits(self, dims: tuple[int, ...]) -> bool:
        """Whether Caffe takes it for a parameter of these dimensions (blob.cpp, ShapeEquals)."""
        if self.is_legacy and len(dims) <= 4:
            return self.dims == (1,) * (4 - len(dims)) + dims
        return self.dims == dims


class StoredLayer(NamedTuple):
    """A layer in a file of weights."""

    name: str
    #: Of its parameters by their numbers, none for layers without weights. HDF5 leaves out those
    #: that another layer shares.
    shapes: Mapping[int, Shape]


class WeightsFile(NamedTuple):
    """What a file of weights holds; the values stay in the file, which may be large."""

    path: str
    #: In the file's order; a name may come twice, and Caffe then copies both, one after the other.
    layers: tuple[StoredLayer, ...]
    is_hdf5: bool = False

    @property
    def with_weights(self) -> dict[str, StoredLayer]:
        """Layers that have parameters, by name; of two with one name the last, as it counts."""
        return {layer.name: layer for layer in self.layers if layer.shapes}

    def values(self, name: str) -> dict[int, np.ndarray]:
        """The parameters of a layer by their numbers, float32, each of its stored shape.

        Raises:
            ConfigError: The file is damaged.
        """
        layer = self.with_weights[name]
        if not self.is_hdf5:
            net, _ = _parse(self.path)
            stored = {other: blobs for other, blobs in _stored(net) if len(blobs)}
            return {i: _values(stored[name][i], shape) for i, shape in layer.shapes.items()}
        with _open_hdf5(self.path) as stream:
            group = stream["data"][name]
            return {i: np.array(group[str(i)], np.float32) for i in layer.shapes}


def read_weights_file(path: str) -> WeightsFile:
    """Read a caffemodel of any age, or the HDF5 that Caffe writes.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be read, or is something else; the message says what.
    """
    try:
        with open(path, "rb", opener=regular_only) as file:
            if file.read(len(_HDF5)) == _HDF5:
                return WeightsFile(path, tuple(_hdf5_layers(path)), is_hdf5=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the weights ({error.strerror})") from error
    net, kind = _parse(path)
    layers = tuple(
        StoredLayer(
            name, {i: _shape(f"{path}: layer {name}", blob) for i, blob in enumerate(blobs)}
        )
        for name, blobs in _stored(net)
    )
    if not layers:
        raise ConfigError(_is_no_caffemodel(path, kind or "it names no layer"))
    return WeightsFile(path, layers)


def _parse(path: str) -> tuple[Any, str]:
    """The NetParameter in a file, and what else the file seems to be."""
    net = caffe_pb2.NetParameter()
    try:
        with open(path, "rb", opener=regular_only) as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the weights ({error.strerror})") from error
    kind = guess_kind(content[:HEAD_BYTES])
    try:
        net.ParseFromString(settled(content))
    except Exception as error:  # DecodeError lives in protobuf, which only the provider imports
        raise ConfigError(_is_no_caffemodel(path, kind or str(error))) from error
    return net, kind


def _is_no_caffemodel(path: str, kind: str) -> str:
    return f"{path} is not a caffemodel ({kind}); name a file that Caffe or dualnet has saved"


def _stored(net: Any) -> Iterator[tuple[str, Any]]:
    """Names and blobs of a NetParameter's layers, in its present layout, that of 2013 or before."""
    for layer in net.layers or net.layer:
        old = layer.layer if net.layers and layer.HasField("layer") else None
        if old is not None and old.type == "padding":
            continue  # Caffe makes it a part of the convolution that follows
        source = old if old is not None else layer
        yield source.name, source.blobs


def _shape(where: str, blob: Any) -> Shape:
    is_legacy = any(blob.HasField(name) for name in _LEGACY)
    dims = (
        (blob.num, blob.channels, blob.height, blob.width) if is_legacy else tuple(blob.shape.dim)
    )
    stored = len(blob.double_data) or len(blob.data)
    wanted = 1
    for size in dims:
        wanted *= size
    if stored != wanted:
        raise ConfigError(
            f"{where}: a parameter of shape {_words(dims)} holds {stored} values; the file is "
            "damaged: save or fetch it again"
        )
    return Shape(tuple(int(size) for size in dims), is_legacy)


def _values(blob: Any, shape: Shape) -> np.ndarray:
    numbers = blob.double_data if len(blob.double_data) else blob.data
    return np.array(numbers, np.float32).reshape(shape.dims)


def _words(dims: tuple[int, ...]) -> str:
    return " x ".join(map(str, dims)) or "()"


# HDF5: /data/LAYER/INDEX.


@contextmanager
def _open_hdf5(path: str) -> Iterator[Any]:
    try:
        with reading(path) as stream:
            yield stream
    except CaffeError as error:
        raise ConfigError(str(error)) from error


def _hdf5_layers(path: str) -> Iterator[StoredLayer]:
    with _open_hdf5(path) as stream:
        if "data" not in stream:
            kind = "a solverstate; the weights are in the .caffemodel.h5 beside it"
            found = ", ".join(sorted(stream)) or "nothing"
            raise ConfigError(
                f"{path} holds no weights ({kind if 'history' in stream else f'it has {found}'}); "
                "name a .caffemodel.h5, whose layers are in /data"
            )
        for name, group in _hdf5_groups(path, stream["data"], "", ()):
            keys = sorted(int(key) for key in group if key.isdigit())
            shapes = {i: Shape(tuple(_own(path, group, str(i)).shape)) for i in keys}
            yield StoredLayer(name, shapes)


def _hdf5_groups(
    path: str, group: Any, prefix: str, above: tuple[Any, ...]
) -> Iterator[tuple[str, Any]]:
    """Layers with their groups; a slash in a layer's name makes groups within groups."""
    if len(above) > _DEEPEST:
        raise ConfigError(
            f"{path}: groups within groups, more than {_DEEPEST} deep; the file is damaged, or "
            "holds no weights"
        )
    for key in group:
        member = _own(path, group, key)
        name = prefix + key
        if not hasattr(member, "keys"):
            continue  # values at a place where layers should be, or a layer's own
        within = [key for key in member if not key.isdigit()]
        if len(within) < len(member) or not within:
            yield name, member
        if within and member not in above:  # a file may hold a group that contains itself
            yield from _hdf5_groups(path, member, f"{name}/", (*above, group))


def _own(path: str, group: Any, name: str) -> Any:
    """A member of a group, but not what a link brings in from elsewhere."""
    if not isinstance(group.get(name, getlink=True), h5py_module().HardLink):
        raise ConfigError(
            f"{path}: {group.name}/{name} is a link to another place; weights are read from the "
            "file itself: save them again"
        )
    found = group[name]
    if not hasattr(found, "keys") and is_elsewhere(found):
        raise ConfigError(
            f"{path}: {found.name} keeps its values in other files; weights are read from the file "
            "itself: save them again"
        )
    return found
