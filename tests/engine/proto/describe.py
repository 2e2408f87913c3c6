"""Print every field and enum value of a caffe_pb2 module, one tab-separated line each.

Run by the tests on our module, and with a path argument by the real Caffe's interpreter:

    .caffe/bin/python tests/engine/proto/describe.py > tests/engine/proto/fields.tsv

Fields:  message, number, name, label, type, default, packed.  Enum values:  enum, number, name.
Works under protobuf 3.12 to current, because it reads the descriptor as a message.
"""

from __future__ import annotations

import sys
from typing import Any

from google.protobuf import descriptor_pb2


def _default(field: Any) -> str:
    """The default as text; a number is normalised, since protoc versions print it differently."""
    if not field.HasField("default_value"):
        return "-"
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return f"{float(field.default_value):.6g}"
    return repr(field.default_value) if field.type == field.TYPE_STRING else field.default_value


def _type(field: Any) -> str:
    if field.type_name:
        return str(field.type_name).lstrip(".")
    return descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)[len("TYPE_") :].lower()


def _lines(message: Any, prefix: str) -> list[str]:
    name = prefix + message.name
    lines = []
    for field in message.field:
        label = descriptor_pb2.FieldDescriptorProto.Label.Name(field.label)[len("LABEL_") :].lower()
        packed = "packed" if field.options.packed else "-"
        row = (name, str(field.number), field.name, label, _type(field), _default(field), packed)
        lines.append("\t".join(row))
    for enum in message.enum_type:
        lines += _enum_lines(enum, name + ".")
    for nested in message.nested_type:
        lines += _lines(nested, name + ".")
    return lines


def _enum_lines(enum: Any, prefix: str) -> list[str]:
    return [f"{prefix}{enum.name}\t{value.number}\t{value.name}" for value in enum.value]


def describe(module: Any) -> list[str]:
    """List what a caffe_pb2 module declares, sorted, so that order in the file does not matter.

    Args:
        module: any provider's caffe_pb2.

    Returns:
        One line per field and per enum value.
    """
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    lines = [line for enum in file.enum_type for line in _enum_lines(enum, "")]
    lines += [line for message in file.message_type for line in _lines(message, "")]
    return sorted(lines)


if __name__ == "__main__":
    from caffe.proto import caffe_pb2

    sys.stdout.write("\n".join(describe(caffe_pb2)) + "\n")
