"""YAML text into plain dictionaries, lists and values, whoever wrote it.

PyYAML's safe loader runs no code, and still lets a short file do harm: aliases of aliases stand for
billions of values, deep nesting overflows the stack, a key that stands twice silently loses its
first value, and some malformed scalars (`!!int ""`) are met with Python's own errors.
"""

from __future__ import annotations

import copy
import errno
import reprlib
from typing import Any

import yaml

from dualnet.engine.formats.regular_file import read_at_most

__all__ = ["BadYaml", "parse_yaml", "read_yaml", "shown"]

#: A config has about a hundred keys; an experiment some hundred runs.
MAX_BYTES = 1 << 18
MAX_DEPTH = 32
MAX_VALUES = 100_000

_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2
_BRIEF.maxstring = _BRIEF.maxother = 80


class BadYaml(ValueError):
    """The text is not YAML that can be taken; says where and why in one line."""


def read_yaml(path: str) -> Any:
    """Read a file of YAML.

    Raises:
        BadYaml: It is too large, or not valid.
        OSError: It cannot be read, or is no regular file.
    """
    try:
        content = read_at_most(path, MAX_BYTES)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise BadYaml(f"{error.strerror}, so this is no config") from error
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadYaml(f"not UTF-8 text: {error}") from error


def parse_yaml(text: str) -> Any:
    """The value that a text stands for; what is aliased is copied, so that nothing is shared.

    Raises:
        BadYaml: It is not valid, nested more than MAX_DEPTH deep, has a key twice, or its aliases
            stand for more than MAX_VALUES values.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that no YAML may have
        raise BadYaml(" ".join(str(error).split())) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        value = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # All but the first two are PyYAML's own slips over scalars like `!!int ""`.
        raise BadYaml(" ".join(str(error).split())) from error
    finally:
        loader.dispose()
    return _unshared(value)


def shown(value: object) -> str:
    """A value for an error message: at most about a line, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 64:
        # Python refuses to write out integers of more than 4300 digits.
        return f"an integer of {int(value.bit_length() * 0.30103) + 1} digits"
    return _BRIEF.repr(value)


class _Loader(yaml.SafeLoader):
    """The safe loader, which in addition refuses to nest too deeply."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            line = self.peek_event().start_mark.line + 1
            raise BadYaml(f"line {line}: nested more than {MAX_DEPTH} deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _count(node: yaml.Node, counted: dict[int, int], parents: set[int]) -> int:
    """How many values a node stands for when its aliases are written out.

    Args:
        node: Where to begin.
        counted: What is known already, by the nodes' identity.
        parents: The nodes that contain this one.

    Raises:
        BadYaml: Too many, a node inside itself, or a key that stands twice.
    """
    if id(node) in counted:
        return counted[id(node)]
    line = node.start_mark.line + 1
    if id(node) in parents:
        raise BadYaml(f"line {line}: an alias inside of what it stands for")
    parents.add(id(node))
    total = 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            total += _count(key, counted, parents) + _count(value, counted, parents)
            if isinstance(key, yaml.ScalarNode):
                at = key.start_mark.line + 1
                if (key.tag, key.value) in seen:
                    first = f"stands in line {seen[key.tag, key.value]} already; keep one"
                    raise BadYaml(f"line {at}: key {shown(key.value)} {first}")
                seen[key.tag, key.value] = at
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(item, counted, parents) for item in node.value)
    if total > MAX_VALUES:
        raise BadYaml(f"line {line}: stands for more than {MAX_VALUES} values")
    parents.remove(id(node))
    counted[id(node)] = total
    return total


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unshared(item) for item in value]
    return copy.copy(value)
