"""Writes prototxt that keeps the author's text, comments and field order.

New layers are formatted in the same style.

A layer that is copied keeps its text, comments and order of fields included; only the names that
change are exchanged. Where that is not possible the layer is formatted from its message.
"""

from __future__ import annotations

import copy
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
from google.protobuf import text_format

from dualnet.backend import caffe_pb2

__all__ = ["Source", "Written", "commented", "format_fields", "format_layer", "replace_values"]

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<open>[{<]) | (?P<close>[}>]) | (?P<name>[A-Za-z_]\w*) | (?P<other>\S)""",
    re.VERBOSE,
)
#: The longest line of a comment.
_WIDTH = 100
#: Fields whose messages stand on one line.
_ON_A_LINE = re.compile(r"include|exclude|param|shape|.*filler")


class Written(NamedTuple):
    """A piece of prototxt, and the comment lines that were lost in writing it."""

    text: str
    lost: int


class _Block(NamedTuple):
    """A layer's text, and the comments that stand before it."""

    lead: str
    text: str


class Source:
    """The text that a net was read from.

    Args:
        text: The whole prototxt.
        net: The net that was read from it; `input` fields may have become its first layer.
    """

    def __init__(self, text: str, net: Any) -> None:
        blocks, self.head_lines, self.tail_lines = _layer_blocks(text)
        missing = len(net.layer) - len(blocks)
        is_legacy = missing == 1 and re.search(r"^\s*input\s*:", text, re.MULTILINE) is not None
        self._blocks: list[Optional[_Block]] = [None] * len(net.layer)
        if missing == 0 or is_legacy:
            self._blocks[missing:] = blocks
        #: Whether the layers' texts could not be told apart, so that all comments are lost.
        self.is_opaque = missing != 0 and not is_legacy
        self.comment_lines = len(re.findall(r"^[^\n\"']*#", text, re.MULTILINE))

    def chosen(self, numbers: Sequence[Optional[int]]) -> Source:
        """The text of some of the layers, in this order; None for one that is not in it."""
        other = copy.copy(self)
        other._blocks = [None if n is None else self._blocks[n] for n in numbers]
        return other

    def layer(self, number: int, wanted: Any) -> Written:
        """The text of a layer that has the contents `wanted`, which differ in names at most."""
        block = self._blocks[number]
        if block is None:
            return Written(format_layer(wanted), 0)
        values = {
            "name": [wanted.name] if wanted.HasField("name") else [],
            "bottom": list(wanted.bottom),
            "top": list(wanted.top),
        }
        edited = replace_values(block.text, values, depth=1)
        if edited is not None and _parses_to(edited, wanted):
            return Written(block.lead + edited, 0)
        return Written(block.lead + format_layer(wanted), block.text.count("#"))


def replace_values(text: str, values: Mapping[str, Sequence[str]], depth: int) -> Optional[str]:
    """Exchange the strings of some fields.

    Args:
        text: Prototxt.
        values: Field to the values that its occurrences are to have, in order.
        depth: How many braces the fields stand in.

    Returns:
        The new text; None if the occurrences are not as many as the values.
    """
    left = {name: list(new) for name, new in values.items()}
    pieces, copied, level, field = [], 0, 0, ""
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "open":
            level += 1
        elif kind == "close":
            level -= 1
        elif kind == "name":
            field = token.group()
            continue
        elif kind == "string" and level == depth and field in left:
            if not left[field]:
                return None
            value = left[field].pop(0)
            if value != token.group()[1:-1]:  # else it keeps its kind of quotes
                pieces += [text[copied : token.start()], _quoted(value)]
                copied = token.end()
        elif kind == "other" and token.group() == ":":
            continue
        field = ""
    if any(left.values()):
        return None
    return "".join(pieces) + text[copied:]


def commented(text: str, command: str) -> str:
    """A comment: a text, wrapped, and below it a command as one can copy it."""
    lines = textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    words = textwrap.wrap(command, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    lines += [f"  {'    ' if i else ''}{line} \\" for i, line in enumerate(words)]
    return "".join(f"# {line}\n" for line in [*lines[:-1], lines[-1][:-2]])


def format_layer(layer: Any) -> str:
    """A layer in the manner of the shipped nets, ending in a line feed."""
    return f"layer {{\n{format_fields(layer, 1)}}}\n"


def format_fields(message: Any, level: int = 0) -> str:
    """A message's fields, one a line, short messages on one line, indented by two a level."""
    lines = []
    for field, value in message.ListFields():
        # Scalars have no CopyFrom, so these are repeated fields.
        is_message = field.type == field.TYPE_MESSAGE
        is_repeated = not (is_message and hasattr(value, "ListFields")) and not isinstance(
            value, (str, bytes, int, float, bool)
        )
        for one in value if is_repeated else [value]:
            lines.append(_field(field, one, level, is_message))
    return "".join(lines)


def _field(field: Any, value: Any, level: int, is_message: bool) -> str:
    indent = "  " * level
    if not is_message:
        return f"{indent}{field.name}: {_scalar(field, value)}\n"
    if _is_short(field.name, value):
        inner = " ".join(format_fields(value).split("\n")).strip()
        return f"{indent}{field.name} {{ {inner} }}\n" if inner else f"{indent}{field.name} {{ }}\n"
    return f"{indent}{field.name} {{\n{format_fields(value, level + 1)}{indent}}}\n"


def _is_short(name: str, message: Any) -> bool:
    """One field, or a message that is always written on a line, if it holds no others."""
    fields = message.ListFields()
    is_flat = all(field.type != field.TYPE_MESSAGE for field, _ in fields)
    is_single = len(fields) == 1 and format_fields(message).count("\n") == 1
    return is_flat and (is_single or _ON_A_LINE.fullmatch(name) is not None)


def _scalar(field: Any, value: Any) -> str:
    if field.type == field.TYPE_STRING:
        return _quoted(value)
    if field.type == field.TYPE_ENUM:
        return str(field.enum_type.values_by_number[value].name)
    if field.type == field.TYPE_BOOL:
        return "true" if value else "false"
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return _number(value, field.type == field.TYPE_FLOAT)
    return str(value)


def _number(value: float, is_single: bool) -> str:
    """The shortest decimal that reads back as the same number."""
    shortest = repr(float(str(np.float32(value)))) if is_single else repr(value)
    return shortest[:-2] if shortest.endswith(".0") else shortest


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _parses_to(text: str, wanted: Any) -> bool:
    """Whether the text of one layer means `wanted`."""
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(text, net)
    except text_format.ParseError:
        return False
    return len(net.layer) == 1 and net.layer[0] == wanted


def _layer_blocks(text: str) -> tuple[list[_Block], int, int]:
    """The `layer { … }` of a net's text, each with the comment lines before it.

    Returns:
        The blocks; the number of comment lines before and after the net's own fields, which are
        about the file; those after the last block.
    """
    blocks: list[_Block] = []
    lead: list[str] = []
    head: Optional[int] = None
    level, start, field = 0, 0, ""
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if level == 0 and kind == "comment":
            is_trailing = bool(text[text.rfind("\n", 0, token.start()) + 1 : token.start()].strip())
            if is_trailing and blocks and field == "":
                last = blocks[-1]
                blocks[-1] = _Block(last.lead, f"{last.text.rstrip()}  {token.group()}\n")
            elif is_trailing:
                head = (head or 0) + 1  # after a field of the net
            else:
                lead.append(token.group().rstrip())
        elif level == 0 and kind == "name":
            if head is None:
                head, lead = len(lead), []
            field, start = token.group(), token.start()
        elif kind == "open":
            level += 1
        elif kind == "close":
            level -= 1
            if level == 0 and field == "layer":
                comments = "".join(f"{line}\n" for line in lead)
                blocks.append(_Block(comments, text[start : token.end()] + "\n"))
                lead = []
            if level == 0:
                field = ""
    return blocks, head or 0, len(lead)
