"""Writing nets in Python: `L.Convolution(bottom, num_output=…)` (`python/caffe/net_spec.py`).

A layer call makes a `Function`; its results are `Top`s, which later calls take as bottoms.
`NetSpec` names the tops; unnamed ones are numbered by layer type.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from dualnet.engine.proto import caffe_pb2

__all__ = ["Function", "Layers", "NetSpec", "Parameters", "Top", "layers", "params", "to_proto"]


def param_name_dict() -> dict[str, str]:
    """The parameter field of each layer type, for example Convolution: convolution_param."""
    result = {}
    for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields:
        if field.message_type is not None and field.name.endswith("_param"):
            type_name = field.message_type.name
            if type_name.endswith("Parameter"):
                result[type_name[: -len("Parameter")]] = field.name
    return result


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Sets a field: lists extend repeated fields, dicts fill messages, lists of dicts both.

    Args:
        proto: the message.
        name: the field.
        val: the value; a single value also makes a repeated field of one.
    """
    field = proto.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise AttributeError(
            f"{proto.DESCRIPTOR.name} has no field '{name}'; its fields are: "
            f"{', '.join(sorted(proto.DESCRIPTOR.fields_by_name))}"
        )
    repeated = not hasattr(getattr(proto, name), "CopyFrom") and hasattr(
        getattr(proto, name), "extend"
    )
    if repeated and not isinstance(val, (list, tuple)):
        val = [val]
    if isinstance(val, (list, tuple)):
        target = getattr(proto, name)
        if val and isinstance(val[0], dict):
            for item in val:
                element = target.add()
                for key, value in item.items():
                    assign_proto(element, key, value)
        else:
            target.extend(val)
    elif isinstance(val, dict):
        for key, value in val.items():
            assign_proto(getattr(proto, name), key, value)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(proto, name).CopyFrom(val)
    else:
        setattr(proto, name, val)


def _has_field(message: Message, name: str) -> bool:
    return name in message.DESCRIPTOR.fields_by_name


class Top:
    """One result of a layer.

    Args:
        fn: the layer.
        n: which of its results.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The net that leads to this top."""
        return to_proto(self)

    def _update(self, params: dict[str, Any]) -> None:
        self.fn._update(params)

    def _to_proto(
        self, found: dict[Function, Any], names: dict[Top, str], autonames: Counter[str]
    ) -> None:
        self.fn._to_proto(found, names, autonames)


class Function:
    """A layer: its type, its bottoms and its settings.

    Args:
        type_name: the layer type.
        inputs: its bottoms.
        params: fields of the layer or of its parameter message; also `ntop` (how many tops, 1 by
            default) and `in_place`.
    """

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        self.type_name = type_name
        for index, item in enumerate(inputs):
            if not isinstance(item, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(item)})")
        self.inputs = inputs
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops: tuple[Top, ...] = tuple(Top(self, n) for n in range(self.ntop))

    def _get_name(self, names: dict[Any, str], autonames: Counter[str]) -> str:
        if self not in names and self.ntop > 0:
            names[self] = self._get_top_name(self.tops[0], names, autonames)
        elif self not in names:
            autonames[self.type_name] += 1
            names[self] = self.type_name + str(autonames[self.type_name])
        return names[self]

    def _get_top_name(self, top: Top, names: dict[Any, str], autonames: Counter[str]) -> str:
        if top not in names:
            autonames[self.type_name] += 1
            names[top] = self.type_name + str(autonames[self.type_name])
        return names[top]

    def _update(self, params: dict[str, Any]) -> None:
        self.params.update(params)

    def _to_proto(
        self, found: dict[Function, Any], names: dict[Any, str], autonames: Counter[str]
    ) -> None:
        if self in found:
            return
        bottoms = []
        for item in self.inputs:
            item._to_proto(found, names, autonames)
            bottoms.append(found[item.fn].top[item.n])
        layer = caffe_pb2.LayerParameter(type=self.type_name, bottom=bottoms)
        if self.in_place:
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(self._get_top_name(top, names, autonames) for top in self.tops)
        layer.name = self._get_name(names, autonames)
        own = param_name_dict()
        for key, value in self.params.items():
            name = own.get(self.type_name) or own.get(_PARAM_OWNER.get(self.type_name, ""))
            message = getattr(layer, name) if name else None
            if not key.endswith("param") and message is not None and _has_field(message, key):
                assign_proto(message, key, value)
            else:
                assign_proto(layer, key, value)
        found[self] = layer


#: Types that use another type's parameter message.
_PARAM_OWNER = {
    "ConvolutionDepthwise": "Convolution",
    "Deconvolution": "Convolution",
    "DepthwiseConvolution": "Convolution",
    "Im2col": "Convolution",
    "LSTM": "Recurrent",
    "RNN": "Recurrent",
    "SoftmaxWithLoss": "Softmax",
}


class NetSpec:
    """A net whose tops are named by attribute or item: `n.conv1 = L.Convolution(n.data, …)`."""

    tops: OrderedDict[str, Top]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Top) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Top:
        try:
            return self.tops[name]
        except KeyError:
            raise AttributeError(f"the net has no top '{name}'") from None

    def __setitem__(self, key: str, value: Top) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Top:
        return self.tops[item]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __delitem__(self, key: str) -> None:
        del self.tops[key]

    def keys(self) -> list[str]:
        """The names of the tops."""
        return list(self.tops)

    def vals(self) -> list[Top]:
        """The tops."""
        return list(self.tops.values())

    def update(self, name: str, params: dict[str, Any]) -> None:
        """Changes settings of the layer that makes a top."""
        self.tops[name]._update(params)

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The net as a message."""
        names = {top: name for name, top in self.tops.items()}
        return _collect(list(self.tops.values()), names)


def to_proto(*tops: Top | Function) -> caffe_pb2.NetParameter:
    """The net that leads to these tops (or to layers without tops), as a message."""
    return _collect(list(tops), {})


def _collect(tops: list[Any], names: dict[Any, str]) -> caffe_pb2.NetParameter:
    found: OrderedDict[Function, Any] = OrderedDict()
    autonames: Counter[str] = Counter()
    for top in tops:
        top._to_proto(found, names, autonames)
    return caffe_pb2.NetParameter(layer=list(found.values()))


class Layers:
    """`L`: any attribute is a layer type; calling it makes a layer."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer_fn(*args: Any, **kwargs: Any) -> Any:
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer_fn


class Parameters:
    """`P`: enum values, as in `P.Pooling.MAX`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(caffe_pb2, name + "Parameter")


layers = Layers()
params = Parameters()
