"""Nets of 2014 (`layers { type: CONVOLUTION blobs_lr: 1 … }`) into the present layout.

Layer types were enum values, and multipliers stood in lists beside the layer:

    layers { name: "ip" type: INNER_PRODUCT blobs_lr: 1 blobs_lr: 2 weight_decay: 1 … }

becomes

    layer { name: "ip" type: "InnerProduct"
            param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 } … }

Facts from Caffe's `util/upgrade_proto.cpp` (UpgradeV1Net, UpgradeNetDataTransformation). The
message classes are those of the net that is given, so that nets of another Caffe's classes can be
rewritten, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualnet.engine.errors import PrototxtError

if TYPE_CHECKING:
    from dualnet.engine.proto import caffe_pb2

__all__ = ["move_transform_fields", "upgrade_v1"]

#: Present names that are not just the words of the old one with capitals.
_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
#: Data layers once held the fields of transform_param themselves.
_DATA = {
    "DATA": "data_param",
    "IMAGE_DATA": "image_data_param",
    "WINDOW_DATA": "window_data_param",
}
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
#: Fields that are not simply copied.
_CHANGED = {"type", "layer", "param", "blob_share_mode", "blobs_lr", "weight_decay"}


def move_transform_fields(net: caffe_pb2.NetParameter) -> None:
    """Moves scale, mean_file, crop_size and mirror of data layers to transform_param, in place.

    Only those in `layers` are moved, as in Caffe: in `layer` these fields have no effect.
    """
    for layer in net.layers:
        field_of_type = _DATA.get(_old_type(layer))
        if field_of_type is None:
            continue
        data = getattr(layer, field_of_type)
        for field in _TRANSFORM_FIELDS:
            if data.HasField(field):
                setattr(layer.transform_param, field, getattr(data, field))
                data.ClearField(field)


def upgrade_v1(net: caffe_pb2.NetParameter, name: str) -> None:
    """Rewrites `layers` to `layer` in place.

    Args:
        net: the net, its `layers` in the layout of 2014.
        name: its file, for messages.

    Raises:
        PrototxtError: it has layers of both layouts.
    """
    if net.layer:
        raise PrototxtError(
            f"{name}: the net has {len(net.layer)} 'layer' and {len(net.layers)} 'layers' fields, "
            "which are of two layouts; write all as layer { type: 'Name' }"
        )
    for old in net.layers:
        _upgrade_layer(old, net.layer.add())
    net.ClearField("layers")


def _upgrade_layer(old: caffe_pb2.V1LayerParameter, new: caffe_pb2.LayerParameter) -> None:
    for descriptor, value in old.ListFields():
        field = descriptor.name
        if field in _CHANGED:
            continue
        target = getattr(new, field)
        if hasattr(target, "extend"):
            target.extend(value)
        elif hasattr(target, "CopyFrom"):
            target.CopyFrom(value)
        else:
            setattr(new, field, value)
    if old.HasField("type"):
        new.type = _type_name(_old_type(old))
    count = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    for index in range(count):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            spec.share_mode = old.blob_share_mode[index]  # both enums number their values alike
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]


def _old_type(layer: caffe_pb2.V1LayerParameter) -> str:
    enum = layer.DESCRIPTOR.fields_by_name["type"].enum_type
    return str(enum.values_by_number[layer.type].name)


def _type_name(old: str) -> str:
    """`SIGMOID_CROSS_ENTROPY_LOSS` becomes `SigmoidCrossEntropyLoss`."""
    return _TYPES.get(old, "".join(word.capitalize() for word in old.split("_")))
