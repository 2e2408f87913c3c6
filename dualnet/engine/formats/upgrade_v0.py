"""Nets of 2013 (`layers { layer { type: "conv" … } … }`) into the layout of 2014 (V1).

A V0 layer kept the settings of all types side by side, and padding was a layer of its own:

    layers { layer { name: "conv1" type: "conv" num_output: 8 kernelsize: 3 } bottom: "pad1" … }

becomes

    layers { name: "conv1" type: CONVOLUTION bottom: "data"
             convolution_param { num_output: 8 kernel_size: 3 pad: 1 } … }

Facts from Caffe's `util/upgrade_proto.cpp` (UpgradeV0Net, UpgradeV0PaddingLayers); fields that it
drops with an error in the log are dropped here too.
"""

from __future__ import annotations

from typing import Any

from dualnet.engine import log
from dualnet.engine.errors import PrototxtError
from dualnet.engine.proto import caffe_pb2

__all__ = ["is_v0", "upgrade_v0"]

#: What V1 calls each type, with the message that holds its settings where V0 gives it any.
_TYPES = {
    "accuracy": ("ACCURACY", ""),
    "bnll": ("BNLL", ""),
    "concat": ("CONCAT", "concat_param"),
    "conv": ("CONVOLUTION", "convolution_param"),
    "data": ("DATA", "data_param"),
    "dropout": ("DROPOUT", "dropout_param"),
    "euclidean_loss": ("EUCLIDEAN_LOSS", ""),
    "flatten": ("FLATTEN", ""),
    "hdf5_data": ("HDF5_DATA", "hdf5_data_param"),
    "hdf5_output": ("HDF5_OUTPUT", "hdf5_output_param"),
    "im2col": ("IM2COL", ""),
    "images": ("IMAGE_DATA", "image_data_param"),
    "infogain_loss": ("INFOGAIN_LOSS", "infogain_loss_param"),
    "innerproduct": ("INNER_PRODUCT", "inner_product_param"),
    "lrn": ("LRN", "lrn_param"),
    "multinomial_logistic_loss": ("MULTINOMIAL_LOGISTIC_LOSS", ""),
    "pool": ("POOLING", "pooling_param"),
    "relu": ("RELU", ""),
    "sigmoid": ("SIGMOID", ""),
    "softmax": ("SOFTMAX", ""),
    "softmax_loss": ("SOFTMAX_LOSS", ""),
    "split": ("SPLIT", ""),
    "tanh": ("TANH", ""),
    "window_data": ("WINDOW_DATA", "window_data_param"),
}
_WEIGHTED = ("conv", "innerproduct")
_WINDOW = ("window_data",)
#: Where each field of V0 goes: its present name, and the types that have it.
_FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "num_output": ("num_output", _WEIGHTED),
    "biasterm": ("bias_term", _WEIGHTED),
    "weight_filler": ("weight_filler", _WEIGHTED),
    "bias_filler": ("bias_filler", _WEIGHTED),
    "pad": ("pad", ("conv", "pool")),
    "kernelsize": ("kernel_size", ("conv", "pool")),
    "group": ("group", ("conv",)),
    "stride": ("stride", ("conv", "pool")),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", ("data", "hdf5_data", "images", "window_data", "infogain_loss")),
    "batchsize": ("batch_size", ("data", "hdf5_data", "images", "window_data")),
    "rand_skip": ("rand_skip", ("data", "images")),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", _WINDOW),
    "det_bg_threshold": ("bg_threshold", _WINDOW),
    "det_fg_fraction": ("fg_fraction", _WINDOW),
    "det_context_pad": ("context_pad", _WINDOW),
    "det_crop_mode": ("crop_mode", _WINDOW),
}
#: Fields that every type took, now in transform_param.
_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}


def is_v0(net: caffe_pb2.NetParameter) -> bool:
    """Whether any layer of a net is in the layout of 2013."""
    return any(layer.HasField("layer") for layer in net.layers)


def upgrade_v0(net: caffe_pb2.NetParameter, name: str) -> None:
    """Rewrites `layers { layer { … } }` to `layers { … }` in place.

    Args:
        net: the net as read.
        name: its file, for messages.

    Raises:
        PrototxtError: a type or bottom is unknown, or a padding layer feeds another type.
    """
    without_padding = _merge_padding(net, name)
    upgraded = [_upgrade_layer(layer, name) for layer in without_padding]
    del net.layers[:]
    net.layers.extend(upgraded)


def _merge_padding(net: caffe_pb2.NetParameter, name: str) -> list[Any]:
    """Gives each padding layer's `pad` to the convolution or pooling that reads it."""
    producer: dict[str, Any] = dict.fromkeys(net.input)
    kept = []
    for connection in net.layers:
        copy = caffe_pb2.V1LayerParameter()
        copy.CopyFrom(connection)
        for index, blob in enumerate(connection.bottom):
            if blob not in producer:
                raise PrototxtError(
                    f"{name}: layer '{connection.layer.name}', bottom {index}: unknown blob "
                    f"'{blob}'"
                )
            source = producer[blob]
            if source is None or source.layer.type != "padding":
                continue
            if connection.layer.type not in ("conv", "pool") or len(connection.bottom) != 1:
                raise PrototxtError(
                    f"{name}: padding layer '{source.layer.name}' feeds layer "
                    f"'{connection.layer.name}' ({connection.layer.type}, "
                    f"{len(connection.bottom)} bottoms); only conv and pool with one bottom pad"
                )
            copy.layer.pad = source.layer.pad
            copy.bottom[index] = source.bottom[0]
        for blob in connection.top:
            producer[blob] = connection
        if connection.layer.type != "padding":
            kept.append(copy)
    return kept


def _upgrade_layer(connection: caffe_pb2.V1LayerParameter, name: str) -> caffe_pb2.V1LayerParameter:
    old = connection.layer
    new = caffe_pb2.V1LayerParameter(bottom=connection.bottom, top=connection.top)
    if old.HasField("name"):
        new.name = old.name
    settings = None
    if old.HasField("type"):
        if old.type not in _TYPES:
            raise PrototxtError(
                f"{name}: layer '{old.name}' has unknown type '{old.type}'; the types of its "
                f"layout are: {', '.join(_TYPES)}"
            )
        new_type, message = _TYPES[old.type]
        new.type = caffe_pb2.V1LayerParameter.LayerType.Value(new_type)
        settings = getattr(new, message) if message else None
    new.blobs.extend(old.blobs)
    new.blobs_lr.extend(old.blobs_lr)
    new.weight_decay.extend(old.weight_decay)
    for descriptor, value in old.ListFields():
        field = descriptor.name
        if field in _TRANSFORM:
            setattr(new.transform_param, _TRANSFORM[field], value)
        elif field in _FIELDS:
            target, types = _FIELDS[field]
            if old.type in types:
                _assign(settings, target, value)
            else:
                _report_dropped(name, old, field)
        elif field == "hdf5_output_param":
            if old.type == "hdf5_output":
                new.hdf5_output_param.MergeFrom(value)
            else:
                _report_dropped(name, old, field)
    return new


def _assign(settings: Any, field: str, value: Any) -> None:
    """Sets a field; convolutions now take a list of sizes where there was one number."""
    if hasattr(value, "MergeFrom"):
        getattr(settings, field).MergeFrom(value)
    elif hasattr(getattr(settings, field), "append"):
        getattr(settings, field).append(value)
    else:
        setattr(settings, field, value)


def _report_dropped(name: str, layer: caffe_pb2.V0LayerParameter, field: str) -> None:
    log.error(
        f"{name}: layer '{layer.name}': unknown parameter {field} for layer type {layer.type}; "
        "continuing without it"
    )
