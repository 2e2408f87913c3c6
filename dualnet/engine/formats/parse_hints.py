"""Hints for protobuf's parse errors: which fork of Caffe has an unknown name, or which are valid.

Imports neither PyTorch nor the engine's caffe_pb2, so that commands which read a prototxt with
another Caffe's messages give the same hints.
"""

from __future__ import annotations

import re
from typing import Any

from dualnet.engine.proto import fork_names

__all__ = ["hint"]

_FIELD = re.compile(r'[Mm]essage type "([\w.]+)" has no field named "(\w+)"')
_VALUE = re.compile(r'[Ee]num type "([\w.]+)" has no value(?: named "?(\w+))?')


def hint(reason: str, pool: Any) -> str:
    """A sentence to append, for the two mistakes that people make.

    Args:
        reason: what protobuf's text parser says.
        pool: the descriptor pool of the messages that were parsed.

    Returns:
        For an unknown field or value: the forks of Caffe that have it, or else the fields or values
        that exist. Empty for any other mistake. Begins with a space where it is not empty.
    """
    unknown = _FIELD.search(reason)
    if unknown:
        return _of_field(unknown[1], unknown[2], pool)
    unknown = _VALUE.search(reason)
    if unknown:
        return _of_value(unknown[1], unknown[2], pool)
    return ""


def _of_field(message: str, name: str, pool: Any) -> str:
    forks = fork_names.owners_of(message.rpartition(".")[2], name)
    if forks:
        return f" It is a field of {forks}, not of BVLC Caffe; the engine does not have it"
    try:
        fields = pool.FindMessageTypeByName(message).fields
    except KeyError:
        return ""
    return f" Its fields are: {', '.join(sorted(field.name for field in fields))}"


def _of_value(enum: str, name: str | None, pool: Any) -> str:
    holder = enum.split(".")[1] if "." in enum else enum  # caffe.PoolingParameter.Engine
    forks = fork_names.owners_of(holder, name or "")
    if forks:
        return f" It is a value of {forks}, not of BVLC Caffe; the engine does not have it"
    try:
        values = pool.FindEnumTypeByName(enum).values
    except KeyError:
        return ""
    return " Its values are: " + ", ".join(f"'{value.name}'" for value in values)
