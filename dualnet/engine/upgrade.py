"""Bringing prototxt written for older Caffe versions up to date (`util/upgrade_proto.cpp`)."""

from __future__ import annotations

import os

from dualnet.engine.errors import PrototxtError
from dualnet.engine.proto import caffe_pb2

__all__ = ["upgrade_net", "upgrade_solver"]


def upgrade_net(net: caffe_pb2.NetParameter, name: str) -> None:
    """Rewrites old layouts in place.

    Args:
        net: the net as read.
        name: its file, for messages.

    Raises:
        PrototxtError: the layout cannot be rewritten.
    """
    if net.layers:
        raise PrototxtError(
            f"{name}: 'layers' is the layout of Caffe before 2014-06; rename the fields to 'layer' "
            "with Caffe's upgrade_net_proto_text"
        )
    if net.input:
        _input_fields_to_layer(net, name)
    for layer in net.layer:
        # BatchNorm once told users to write three lr_mult: 0 entries; the layer does that itself.
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            del layer.param[:]


def _input_fields_to_layer(net: caffe_pb2.NetParameter, name: str) -> None:
    """`input` with `input_shape` or `input_dim` becomes one Input layer at the front."""
    count, shapes, dims = len(net.input), len(net.input_shape), len(net.input_dim)
    if shapes not in (0, 1, count) or (dims and dims != 4 * count) or not (shapes or dims):
        raise PrototxtError(
            f"{name}: {count} 'input' need {count} 'input_shape' or {4 * count} 'input_dim', "
            f"found {shapes} and {dims}"
        )
    layer = caffe_pb2.LayerParameter(name="input", type="Input", top=list(net.input))
    for shape in net.input_shape:
        layer.input_param.shape.add().CopyFrom(shape)
    for first in range(0, dims, 4):
        layer.input_param.shape.add(dim=net.input_dim[first : first + 4])
    others = [layer] + list(net.layer)
    copied = caffe_pb2.NetParameter(layer=others)
    del net.layer[:], net.input[:], net.input_shape[:], net.input_dim[:]
    net.layer.extend(copied.layer)


def upgrade_solver(solver: caffe_pb2.SolverParameter, name: str) -> None:
    """Rewrites old layouts in place and completes the snapshot prefix.

    Args:
        solver: the solver as read.
        name: its file; gives the snapshot prefix where that is missing or a directory.
    """
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise PrototxtError(
                f"{name}: 'solver_type' and 'type' are both set; remove the old 'solver_type'"
            )
        types = ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"]
        solver.type = types[solver.solver_type]
        solver.ClearField("solver_type")
    stem = os.path.splitext(name)[0]
    if not solver.snapshot_prefix:
        solver.snapshot_prefix = stem
    elif os.path.isdir(solver.snapshot_prefix):
        base = os.path.basename(stem)
        solver.snapshot_prefix = os.path.join(solver.snapshot_prefix, base)
