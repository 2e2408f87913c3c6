"""Reading prototxt and binary protobuf files, with errors that say where.

BVLC Caffe aborts the process on an unknown field or enum value; here the message names file, line,
column and the fields or values that exist.
"""

from __future__ import annotations

import os
import re
from typing import TypeVar, Union

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from dualnet.engine import upgrade
from dualnet.engine.errors import PrototxtError, quoted
from dualnet.engine.file_kind import guess_kind
from dualnet.engine.proto import caffe_pb2, fork_numbers
from dualnet.engine.regular_file import regular_only

__all__ = ["Path", "parse_text", "read_binary", "read_net", "read_solver"]

Path = Union[str, "os.PathLike[str]"]
M = TypeVar("M", bound=Message)


def read_net(path: Path) -> caffe_pb2.NetParameter:
    """Reads a net's prototxt and brings old layouts up to date.

    Raises:
        PrototxtError: the file is missing or wrong.
    """
    net = parse_text(_read(path), caffe_pb2.NetParameter, os.fspath(path))
    upgrade.upgrade_net(net, os.fspath(path))
    return net


def read_solver(path: Path) -> caffe_pb2.SolverParameter:
    """Reads a solver's prototxt and brings old layouts up to date.

    Raises:
        PrototxtError: the file is missing or wrong.
    """
    solver = parse_text(_read(path), caffe_pb2.SolverParameter, os.fspath(path))
    upgrade.upgrade_solver(solver, os.fspath(path))
    return solver


def read_binary(path: Path, message_type: type[M]) -> M:
    """Reads a binary protobuf file, for example a caffemodel or a mean image.

    Raises:
        PrototxtError: the file is missing or holds something else.
    """
    message = message_type()
    try:
        with open(path, "rb", opener=regular_only) as stream:
            content = stream.read()
        if not content:  # a message without fields, to protobuf: nothing would be copied
            raise PrototxtError(
                f"'{os.fspath(path)}' is empty: a write has failed; give a complete "
                f"{message.DESCRIPTOR.name}"
            )
        if message_type is caffe_pb2.NetParameter:
            content = fork_numbers.settled(content)
        message.ParseFromString(content)
    except PrototxtError:
        raise
    except OSError as error:
        raise PrototxtError(f"cannot read '{os.fspath(path)}': {error.strerror}") from error
    except ValueError as error:  # a zero byte
        raise PrototxtError(f"{os.fspath(path)!r} is no file name: {error}") from error
    except DecodeError as error:
        raise PrototxtError(
            f"'{os.fspath(path)}' is not a binary {message.DESCRIPTOR.name}: "
            + (f"it is {kind}" if (kind := guess_kind(content)) else str(error))
        ) from error
    return message


def parse_text(text: str, message_type: type[M], name: str) -> M:
    """Parses protobuf text.

    Args:
        text: the prototxt.
        message_type: the message to fill.
        name: the file's name, for messages.

    Raises:
        PrototxtError: with `file:line:column`, the reason, and the names that would be valid.
    """
    message = message_type()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        reason = re.sub(r"^\d+:\d+\s*:\s*", "", str(error))
        where = f"{name}:{line}:{column}" if line else name
        raise PrototxtError(f"{where}: {reason}{_hint(reason)}") from error
    return message


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", opener=regular_only) as stream:
            return stream.read()
    except OSError as error:
        raise PrototxtError(
            f"Could not open file '{os.fspath(path)}': {error.strerror} (the working directory is "
            f"'{os.getcwd()}')"
        ) from error
    except UnicodeDecodeError as error:
        raise PrototxtError(f"'{os.fspath(path)}' is not UTF-8 text: {error.reason}") from error
    except ValueError as error:  # a zero byte
        raise PrototxtError(f"{os.fspath(path)!r} is no file name: {error}") from error


def _hint(reason: str) -> str:
    """Lists what would have been valid, for the two mistakes that people make."""
    unknown_field = re.search(r'[Mm]essage type "([\w.]+)" has no field named', reason)
    if unknown_field:
        found = _descriptor(unknown_field.group(1))
        if found is not None:
            names = sorted(field.name for field in found.fields)
            return f" Its fields are: {', '.join(names)}"
    unknown_value = re.search(r'[Ee]num type "([\w.]+)" has no value', reason)
    if unknown_value:
        try:
            enum = caffe_pb2.DESCRIPTOR.pool.FindEnumTypeByName(unknown_value.group(1))
        except KeyError:
            return ""
        return f" Its values are: {quoted(value.name for value in enum.values)}"
    return ""


def _descriptor(full_name: str) -> Descriptor | None:
    try:
        found: Descriptor = caffe_pb2.DESCRIPTOR.pool.FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return found
