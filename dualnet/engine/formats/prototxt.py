"""Reading prototxt and binary protobuf files, with errors that name the place.

BVLC Caffe aborts the process on an unknown field or enum value; here the message names file, line,
column and the fields or values that exist.
"""

from __future__ import annotations

import os
import re
from typing import TypeVar, Union

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from dualnet.engine.errors import PrototxtError
from dualnet.engine.formats import upgrade
from dualnet.engine.formats.file_kind import guess_kind
from dualnet.engine.formats.parse_hints import hint
from dualnet.engine.formats.regular_file import regular_only
from dualnet.engine.proto import caffe_pb2, fork_numbers

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
        if not content:  # protobuf takes it for a message without fields: nothing is copied
            raise PrototxtError(
                f"'{os.fspath(path)}' is empty (interrupted write?); use another copy of the "
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
        PrototxtError: with `file:line:column`, the reason, and the fork of Caffe that has an
            unknown name, or the names that would be valid.
    """
    message = message_type()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        reason = re.sub(r"^\d+:\d+\s*:\s*", "", str(error))
        where = f"{name}:{line}:{column}" if line else name
        raise PrototxtError(
            f"{where}: {reason}{hint(reason, message.DESCRIPTOR.file.pool)}"
        ) from error
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
