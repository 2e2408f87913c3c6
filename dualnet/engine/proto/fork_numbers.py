"""Caffemodels of Caffe's forks: the layer's type decides what a field number means.

In text a field has its name, in a binary file only a number, and forks have given one number to
different fields: LayerParameter's 147 is swish_param in BVLC Caffe, roi_pooling_param in
Microsoft's, upsample_param in a SegNet's, forward_math in NVIDIA's. Read by the wrong name such a
field is nonsense at best; at worst the whole file cannot be read (a string where a message is
expected) or not be written again (a required field is missing). Of a layer's messages only that of
its type has a meaning, so this moves it to its number in our caffe.proto and leaves out the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["settled"]

#: Layer type to the number of its message in our caffe.proto, and its numbers in other forks.
_PLACES: dict[str, tuple[int, frozenset[int]]] = {
    "BN": (45, frozenset({137, 152, 200})),
    "DenseImageData": (46, frozenset({138})),
    "Interp": (100143, frozenset({143})),
    "Normalize": (206, frozenset({134})),
    "Permute": (202, frozenset({224})),
    "PriorBox": (203, frozenset()),
    "PSROIPooling": (10001, frozenset({149, 153, 220})),
    "ReLU6": (211, frozenset()),
    "ROIPooling": (8266711, frozenset({147, 150, 154, 204})),
    "ShuffleChannel": (164, frozenset()),
    "SmoothL1Loss": (8266712, frozenset({148})),
    "Upsample": (150, frozenset({137, 147})),
}
#: Numbers that BVLC Caffe gives to these types, and some fork to others.
_BVLC: dict[int, frozenset[str]] = {
    132: frozenset({"SPP"}),
    133: frozenset({"Reshape"}),
    134: frozenset({"Log"}),
    135: frozenset({"Flatten"}),
    136: frozenset({"Reduction"}),
    137: frozenset({"Embed"}),
    138: frozenset({"Tile"}),
    139: frozenset({"BatchNorm"}),
    140: frozenset({"ELU"}),
    141: frozenset({"Bias", "Scale"}),
    143: frozenset({"Input"}),
    144: frozenset({"Crop"}),
    145: frozenset({"Parameter"}),
    146: frozenset({"LSTM", "RNN"}),
    147: frozenset({"Swish"}),
    148: frozenset({"Clip"}),
}
_OWNERS = {**_BVLC, **{number: frozenset({kind}) for kind, (number, _) in _PLACES.items()}}
_WATCHED = frozenset(_OWNERS).union(*(others for _, others in _PLACES.values()))
#: PSPNet and TSN use 1 to 3 of BNParameter for what SegNet's has under other names.
_BN_OF_PSPNET = frozenset({137, 152, 200})
_BN_INNER = {1: 1001, 2: 1002, 3: 1003}

_TYPE, _LAYER = 2, 100
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Field(NamedTuple):
    """One field on the wire: number, wire type, and where tag, value and end stand."""

    number: int
    wire: int
    start: int
    value: int
    end: int


class _Damaged(Exception):
    """Not the wire format; protobuf itself says so better."""


def settled(content: bytes) -> bytes:
    """Moves the fields of a stored net to the numbers of our caffe.proto.

    Args:
        content: a binary NetParameter, of any fork.

    Returns:
        The same bytes where nothing had to move, and where they are not in protobuf's format.
    """
    view = memoryview(content)
    pieces: list[bytes | memoryview] = []
    copied = 0
    try:
        for field in _fields(view):
            if field.number != _LAYER or field.wire != _BYTES:
                continue
            layer = _settled_layer(view[field.value : field.end])
            if layer is not None:
                pieces += [view[copied : field.start], _tag(_LAYER, _BYTES), _varint(len(layer))]
                pieces.append(layer)
                copied = field.end
    except _Damaged:
        return content
    return b"".join([*pieces, view[copied:]]) if pieces else content


def _settled_layer(view: memoryview) -> bytes | None:
    """A layer with its fields moved; None where they stand as they should."""
    fields = list(_fields(view))
    if not any(field.number in _WATCHED for field in fields):
        return None
    named = [bytes(view[f.value : f.end]) for f in fields if f.number == _TYPE and f.wire == _BYTES]
    kind = named[-1].decode("utf-8", "replace") if named else ""
    own, others = _PLACES.get(kind, (0, frozenset()))
    pieces: list[bytes | memoryview] = []
    changed = False
    for field in fields:
        if field.number in others and field.wire == _BYTES:
            value = bytes(view[field.value : field.end])
            if kind == "BN" and field.number in _BN_OF_PSPNET:
                value = _renumbered(value, _BN_INNER)
            pieces += [_tag(own, _BYTES), _varint(len(value)), value]
            changed = True
        elif field.number in _WATCHED and kind not in _OWNERS.get(field.number, ()):
            changed = True
        else:
            pieces.append(view[field.start : field.end])
    return b"".join(pieces) if changed else None


def _renumbered(message: bytes, numbers: dict[int, int]) -> bytes:
    view = memoryview(message)
    pieces: list[bytes | memoryview] = []
    for field in _fields(view):
        after_tag = field.start + len(_tag(field.number, field.wire))
        pieces.append(_tag(numbers.get(field.number, field.number), field.wire))
        pieces.append(view[after_tag : field.end])
    return b"".join(pieces)


def _fields(view: memoryview) -> Iterator[_Field]:
    """The fields of one message, in order."""
    position = 0
    while position < len(view):
        start = position
        key, position = _read_varint(view, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value = position
            _, position = _read_varint(view, position)
        elif wire == _BYTES:
            length, value = _read_varint(view, position)
            position = value + length
        elif wire in (_FIXED32, _FIXED64):
            value = position
            position += 4 if wire == _FIXED32 else 8
        else:
            raise _Damaged
        if number == 0 or position > len(view):
            raise _Damaged
        yield _Field(number, wire, start, value, position)


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise _Damaged
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise _Damaged


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)
