"""A net's layers and blobs as its prototxt says them, without building the net.

Reading prototxt before Caffe does has a reason: BVLC Caffe aborts the process on a mistake, so what
can be checked in the text is checked here, with the file and both names in the message.
"""

from __future__ import annotations

import os
from typing import Any, Optional

from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.engine.errors import PrototxtError
from dualnet.engine.formats.parse_hints import hint
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.formats.upgrade_v1 import move_transform_fields, upgrade_v1
from dualnet.errors import ConfigError

__all__ = [
    "NetGraph",
    "batch_size_of",
    "checked_net",
    "included_layers",
    "read_net",
    "read_solver",
    "set_batch_size",
]

#: Where layers that produce batches keep the batch size and, but for MemoryData, the source.
BATCH_FIELDS = {
    "Data": "data_param",
    "MemoryData": "memory_data_param",
    "ImageData": "image_data_param",
    "HDF5Data": "hdf5_data_param",
    "WindowData": "window_data_param",
    "DenseImageData": "dense_image_data_param",
}


def read_net(path: str) -> Any:
    """The NetParameter in a prototxt.

    Raises:
        ConfigError: The file is missing, is not a net, uses `layers` (Caffe's V1 format, until
            December 2014) beside `layer`, or is in the V0 format of 2013.
    """
    return checked_net(_read(path, caffe_pb2.NetParameter(), "net"), path)


def checked_net(net: Any, path: str) -> Any:
    """The same NetParameter, its `input` fields made a layer, its V1 `layers` made `layer`.

    Raises:
        ConfigError: It cannot be upgraded, or has no layer.
    """
    if net.layers:
        _upgrade_layers(net, path)
    if not net.layer:
        raise ConfigError(f"{path}: no layer {{...}} in it; is this the net and not the solver?")
    _upgrade_input(net)
    return net


def read_solver(path: str) -> Any:
    """The SolverParameter in a prototxt. Raises ConfigError as `read_net` does."""
    return _read(path, caffe_pb2.SolverParameter(), "solver")


def _upgrade_layers(net: Any, path: str) -> None:
    """Upgrade V1 layers, `layers { type: CONVOLUTION }`, as Caffe does (upgrade_proto.cpp)."""
    if any(layer.HasField("layer") for layer in net.layers):
        raise ConfigError(
            f"{path}: layers {{ layer {{...}} }} is Caffe's V0 format, the format of 2013; run "
            "upgrade_net_proto_text on it, or write layer {...} with type in quotes"
        )
    try:
        move_transform_fields(net)
        upgrade_v1(net, path)
    except PrototxtError as error:
        raise ConfigError(str(error)) from error


def _upgrade_input(net: Any) -> None:
    """Make the `input` fields of before 2016 an Input layer, as Caffe does (upgrade_proto.cpp)."""
    if not net.input:
        return
    upgraded = caffe_pb2.NetParameter()
    layer = upgraded.layer.add(name="input", type="Input", top=net.input)
    if net.input_shape:
        layer.input_param.shape.extend(net.input_shape)
    else:
        for start in range(0, len(net.input_dim), 4):
            layer.input_param.shape.add(dim=net.input_dim[start : start + 4])
    upgraded.layer.extend(net.layer)
    for field in ("input", "input_shape", "input_dim", "layer"):
        net.ClearField(field)
    net.layer.extend(upgraded.layer)


def _read(path: str, message: Any, kind: str) -> Any:
    try:
        with open(path, encoding="utf-8", opener=regular_only) as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the {kind} prototxt: {error.strerror} (the working directory is "
            f"{os.getcwd()})"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text; a {kind} prototxt is needed here") from error
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        # protobuf's message begins with line:column, which joins the path to path:line:column.
        reason = " ".join(str(error).split())
        where = f"{path}:{reason}{hint(reason, message.DESCRIPTOR.file.pool)} ({kind} prototxt)"
        if path.endswith((".yaml", ".yml")):
            where += f"; this is a run's YAML: give the {kind} prototxt that it names"
        elif kind == "net" and _is_solver(text):
            where += "; this is a solver: give the net that it names, and the solver as --solver"
        raise ConfigError(where) from error
    return message


def _is_solver(text: str) -> bool:
    try:
        text_format.Parse(text, caffe_pb2.SolverParameter())
    except text_format.ParseError:
        return False
    return True


def solver_states(solver: Any) -> dict[str, Any]:
    """Phase to the NetState that the solver adds to the net's."""
    states = {}
    if solver.HasField("train_state"):
        states["TRAIN"] = solver.train_state
    if solver.test_state:
        states["TEST"] = solver.test_state[0]
    return states


class NetGraph:
    """The layers of one phase, who makes each blob and who reads it.

    Args:
        net: A NetParameter.
        phase: `TRAIN` or `TEST`.
        path: Where it was read, for messages.
        state: The NetState that the solver adds (`solver_states`), for stages and levels.
    """

    def __init__(self, net: Any, phase: str, path: str, state: Optional[Any] = None) -> None:
        self.path = path
        self.phase = phase
        self.layers = [net.layer[number] for number in included_layers(net, phase, path, state)]
        #: Blob name to the layers that have it as a top, in order (in-place layers again).
        self.producers: dict[str, list[Any]] = {}
        self.consumers: dict[str, list[Any]] = {}
        for layer in self.layers:
            for top in layer.top:
                self.producers.setdefault(top, []).append(layer)
            for bottom in layer.bottom:
                self.consumers.setdefault(bottom, []).append(layer)

    def layer(self, name: str, key: str) -> Any:
        """The layer of that name. `key` is the config key that asks for it, for the message.

        Raises:
            ConfigError: No layer is called so, or several are.
        """
        found = [layer for layer in self.layers if layer.name == name]
        if not found:
            names = ", ".join(layer.name for layer in self.layers)
            raise ConfigError(
                f"{self.path}: no layer {name} in phase {self.phase}, which {key} names; "
                f"its layers: {names}"
            )
        if len(found) > 1:
            kinds = " and ".join(
                f"layer {self.place(layer)} of type {layer.type}" for layer in found
            )
            raise ConfigError(
                f"{self.path}: {len(found)} layers named {name!r} in phase {self.phase}, where "
                f"{key} needs one: {kinds}; give one of them another name"
            )
        return found[0]

    def require_blob(self, name: str, key: str) -> Any:
        """The first layer that produces the blob; for `key` see `layer`.

        Raises:
            ConfigError: None does.
        """
        if name not in self.producers:
            raise ConfigError(
                f"{self.path}: no blob {name} in phase {self.phase}, which {key} names; "
                f"its blobs: {', '.join(self.producers)}"
            )
        return self.producers[name][0]

    def place(self, layer: Any) -> int:
        """The position of a layer in `layers`, which distinguishes layers of one name.

        The layer must be one of these objects; an equal message is not found (StopIteration).
        """
        return next(i for i, one in enumerate(self.layers) if one is layer)


def included_layers(net: Any, phase: str, path: str, solver_state: Any = None) -> list[int]:
    """Positions of the layers that a phase has.

    Args:
        net: A NetParameter.
        phase: `TRAIN` or `TEST`.
        path: Where it was read, for messages.
        solver_state: What the solver's train_state or test_state adds to the net's own state.
    """
    state = caffe_pb2.NetState()
    state.CopyFrom(net.state)
    if solver_state is not None:
        state.MergeFrom(solver_state)
    state.phase = caffe_pb2.Phase.Value(phase)
    return [i for i, layer in enumerate(net.layer) if _is_included(layer, state, path)]


def _is_included(layer: Any, state: Any, path: str) -> bool:
    """Caffe's FilterNet: any include rule admits, else any exclude rule drops (net.cpp)."""
    if layer.include and layer.exclude:
        raise ConfigError(
            f"{path}: layer {layer.name} has include and exclude rules; keep one kind"
        )
    if layer.include:
        return any(_rule_holds(rule, state) for rule in layer.include)
    return not any(_rule_holds(rule, state) for rule in layer.exclude)


def _rule_holds(rule: Any, state: Any) -> bool:
    stages = set(state.stage)
    return not (
        (rule.HasField("phase") and rule.phase != state.phase)
        or (rule.HasField("min_level") and state.level < rule.min_level)
        or (rule.HasField("max_level") and state.level > rule.max_level)
        or any(stage not in stages for stage in rule.stage)
        or any(stage in stages for stage in rule.not_stage)
    )


def batch_size_of(layer: Any) -> Optional[int]:
    """Samples of a batch that a data layer yields, or None for other layers."""
    field = BATCH_FIELDS.get(layer.type)
    if field:
        return int(getattr(layer, field).batch_size)
    if layer.type == "Input":
        return next((int(shape.dim[0]) for shape in layer.input_param.shape if shape.dim), None)
    return None


def set_batch_size(layer: Any, batch_size: int) -> None:
    """Change the batch size of a data or Input layer; other layers are left alone."""
    field = BATCH_FIELDS.get(layer.type)
    if field:
        getattr(layer, field).batch_size = batch_size
    elif layer.type == "Input":
        for shape in layer.input_param.shape:
            if shape.dim:  # a scalar has no batch
                shape.dim[0] = batch_size
