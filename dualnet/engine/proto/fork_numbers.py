"""Caffemodels of Caffe's forks: the layer's type decides what a field number means.

In text a field has its name, in a binary file only a number, and forks have given one number to
different fields: LayerParameter's 147 is swish_param in BVLC Caffe, roi_pooling_param in
Microsoft's, upsample_param in a SegNet's, forward_math in NVIDIA's. Read by the wrong name such a
field is nonsense at best; at worst the whole file cannot be read (a string where a message is
expected) or not be written again (a required field is missing). Of a layer's messages only that of
its type has a meaning, so this moves it to its number in our caffe.proto and leaves out the others.
"""

from __future__ import annotations

from dualnet.engine.proto.wire_format import BYTES, NotWireFormat, fields, tag, varint

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
        for field in fields(view):
            if field.number != _LAYER or field.wire != BYTES:
                continue
            layer = _settled_layer(view[field.value : field.end])
            if layer is not None:
                pieces += [view[copied : field.start], tag(_LAYER, BYTES), varint(len(layer))]
                pieces.append(layer)
                copied = field.end
    except NotWireFormat:
        return content
    return b"".join([*pieces, view[copied:]]) if pieces else content


def _settled_layer(view: memoryview) -> bytes | None:
    """A layer with its fields moved; None if nothing has to move."""
    found = list(fields(view))
    if not any(field.number in _WATCHED for field in found):
        return None
    named = [bytes(view[f.value : f.end]) for f in found if f.number == _TYPE and f.wire == BYTES]
    kind = named[-1].decode("utf-8", "replace") if named else ""
    own, others = _PLACES.get(kind, (0, frozenset()))
    pieces: list[bytes | memoryview] = []
    changed = False
    for field in found:
        if field.number in others and field.wire == BYTES:
            value = bytes(view[field.value : field.end])
            if kind == "BN" and field.number in _BN_OF_PSPNET:
                value = _renumbered(value, _BN_INNER)
            pieces += [tag(own, BYTES), varint(len(value)), value]
            changed = True
        elif field.number in _WATCHED and kind not in _OWNERS.get(field.number, ()):
            changed = True
        else:
            pieces.append(view[field.start : field.end])
    return b"".join(pieces) if changed else None


def _renumbered(message: bytes, numbers: dict[int, int]) -> bytes:
    view = memoryview(message)
    pieces: list[bytes | memoryview] = []
    for field in fields(view):
        after_tag = field.start + len(tag(field.number, field.wire))
        pieces.append(tag(numbers.get(field.number, field.number), field.wire))
        pieces.append(view[after_tag : field.end])
    return b"".join(pieces)
