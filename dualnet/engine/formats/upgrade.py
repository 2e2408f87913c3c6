"""Bringing prototxt and weights of older Caffe versions up to date (`util/upgrade_proto.cpp`)."""

from __future__ import annotations

import os

from dualnet.engine import log
from dualnet.engine.errors import PrototxtError
from dualnet.engine.formats.upgrade_v0 import is_v0, upgrade_v0
from dualnet.engine.formats.upgrade_v1 import move_transform_fields, upgrade_v1
from dualnet.engine.proto import caffe_pb2

__all__ = ["upgrade_net", "upgrade_solver"]


def upgrade_net(net: caffe_pb2.NetParameter, name: str) -> None:
    """Rewrites old layouts in place: those of 2013 and 2014, `input` fields, BatchNorm params.

    Args:
        net: the net as read, from text or from a caffemodel.
        name: its file, for messages.

    Raises:
        PrototxtError: the layout cannot be rewritten.
    """
    if net.layers:
        if is_v0(net):
            upgrade_v0(net, name)
        move_transform_fields(net)
        upgrade_v1(net, name)
        log.info(f"Upgraded '{name}' from the layout of Caffe before 2014-12 ('layers')")
    if net.input:
        _input_fields_to_layer(net, name)
    for layer in net.layer:
        # Caffe's examples once had three `param` entries here; the statistics never learn anyway.
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0


def _input_fields_to_layer(net: caffe_pb2.NetParameter, name: str) -> None:
    """`input` with `input_shape` or `input_dim` becomes one Input layer at the front.

    Inputs without any shape vanish, as in Caffe: stored weights and all-in-one nets have them.
    """
    count, shapes, dims = len(net.input), len(net.input_shape), len(net.input_dim)
    if shapes or dims:
        if (shapes or dims / 4) != count:
            raise PrototxtError(
                f"{name}: {count} 'input' need {count} 'input_shape' or {4 * count} 'input_dim', "
                f"found {shapes} and {dims}"
            )
        layer = caffe_pb2.LayerParameter(name="input", type="Input", top=list(net.input))
        for shape in net.input_shape:
            layer.input_param.shape.add().CopyFrom(shape)
        for first in range(0, 0 if shapes else dims, 4):
            layer.input_param.shape.add(dim=net.input_dim[first : first + 4])
        # To the front, without a copy of the layers and the weights that they may hold.
        net.layer.add().CopyFrom(layer)
        net.layer.insert(0, net.layer.pop())
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)


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
