"""What a prototxt says, field by field, so that two of them can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Field", "walk"]


class Field(NamedTuple):
    """A field that a message has.

    Attributes:
        path: As `convolution_param.num_output` or `include[0].phase`.
        message: The message that has it, of protobuf.
        name: Of the field in that message.
        value: As text: strings in quotes, enums by name.
    """

    path: str
    message: Any
    name: str
    value: str


def walk(message: Any, prefix: str = "") -> Iterator[Field]:
    """Every field that a message has, those of the messages in it too, in the schema's order.

    A field that is written down with its default is there all the same: for some of Caffe's,
    `ignore_label: 0` among them, that makes a difference.

    Args:
        message: Of protobuf.
        prefix: What each path begins with.
    """
    for field, value in message.ListFields():
        is_repeated = _is_repeated(field)
        for number, one in enumerate(value if is_repeated else [value]):
            path = f"{prefix}{field.name}" + (f"[{number}]" if is_repeated else "")
            if field.type != field.TYPE_MESSAGE:
                yield Field(path, message, field.name, _text(field, one))
            elif one.ListFields():
                yield from walk(one, f"{path}.")
            else:
                yield Field(path, message, field.name, "{}")


def _is_repeated(field: Any) -> bool:
    # Protobuf 3.12 has only the one, protobuf 7 and later only the other.
    known = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


def _text(field: Any, value: Any) -> str:
    if field.type == field.TYPE_ENUM:
        number = field.enum_type.values_by_number.get(value)
        return str(value) if number is None else str(number.name)
    if field.type == field.TYPE_BYTES:
        return bytes(value).hex()
    if field.type == field.TYPE_STRING:
        return f'"{value}"'
    if field.type == field.TYPE_BOOL:
        return "true" if value else "false"
    if field.type == field.TYPE_FLOAT:
        return str(np.float32(value))  # 0.01, and not the double next to it
    return str(value)
