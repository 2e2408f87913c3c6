"""Protobuf's wire format, for what its Python interface does not do, or does slowly.

Imports neither PyTorch nor the messages, so that it also serves with another Caffe's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BYTES", "Field", "NotWireFormat", "fields", "tag", "varint"]

#: The wire type of strings, messages and packed fields.
BYTES = 2
_VARINT, _FIXED64, _FIXED32 = 0, 1, 5


class NotWireFormat(ValueError):
    """The bytes are no message; callers leave it to protobuf to say what is wrong."""


class Field(NamedTuple):
    """One field of a message: number, wire type, and where its tag, its value and its end are."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def fields(view: memoryview) -> Iterator[Field]:
    """The fields of one message, in order.

    Raises:
        NotWireFormat: the bytes are none.
    """
    position = 0
    while position < len(view):
        start = position
        key, position = _read_varint(view, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value = position
            _, position = _read_varint(view, position)
        elif wire == BYTES:
            length, value = _read_varint(view, position)
            position = value + length
        elif wire in (_FIXED32, _FIXED64):
            value = position
            position += 4 if wire == _FIXED32 else 8
        else:
            raise NotWireFormat
        if number == 0 or position > len(view):
            raise NotWireFormat
        yield Field(number, wire, start, value, position)


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise NotWireFormat
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise NotWireFormat


def varint(value: int) -> bytes:
    """Protobuf's integer: seven bits a byte, low ones first, the top bit set but on the last."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def tag(number: int, wire: int) -> bytes:
    """The bytes before a field's value: its number and wire type."""
    return varint(number << 3 | wire)
