"""The page of configuration keys, from the sections of dualnet/config/schema.py."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, Optional, Union

import yaml
from sphinx.pycode import ModuleAnalyzer

from dualnet.config import schema
from dualnet.config.fixed import FREE
from generators.markdown import escape

__all__ = ["write"]

#: Field of the configuration to what the YAML calls its section, where that differs.
_TITLES = {"single": "single, net1, net2, …", "cuts": "cut, or cut1, cut2, …"}
_NUMBERED = {"single": "PIECE", "cuts": "CUT"}
#: Fields that have the keys of another section.
_REPEATED = ("pieces",)
_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def write() -> Iterator[str]:
    """The keys outside all sections, then a heading for each section.

    Raises:
        LookupError: A key has no comment that says what it means.
    """
    types = typing.get_type_hints(schema.Config)
    sections = []
    yield from ("", "## Outside all sections", "")
    for entry in dataclasses.fields(schema.Config):
        kind = _section(types[entry.name])
        if kind is None:
            yield from _key("", schema.Config, entry)
        elif entry.name not in _REPEATED:
            sections.append((entry.name, kind))
    for name, kind in sections:
        yield from ("", f"## {_TITLES.get(name, name)}", "", escape(_in_one_line(kind.__doc__)), "")
        for entry in dataclasses.fields(kind):
            yield from _key(f"{_NUMBERED.get(name, name)}.", kind, entry)


def _section(kind: Any) -> Optional[type]:
    """The class of a section, or of each of several; None for a key."""
    kinds = [kind, *typing.get_args(kind)]
    return next((one for one in kinds if dataclasses.is_dataclass(one)), None)


def _key(prefix: str, section: type, entry: dataclasses.Field) -> Iterator[str]:
    default = entry.default
    if entry.default_factory is not dataclasses.MISSING:
        default = entry.default_factory()
    yield from (f"````{{confval}} {prefix}{entry.name}",)
    yield f":type: {_type(typing.get_type_hints(section)[entry.name])}"
    yield from (f":default: `{_yaml(default)}`", "", escape(_meaning(section, entry.name)))
    for more in (_allowed(entry), _freedom(prefix, entry.name)):
        if more:
            yield from ("", escape(more))
    yield from ("````", "")


def _meaning(section: type, name: str) -> str:
    """The comment above a key; keys that share one comment are told by the first."""
    for owner in section.__mro__:
        comments = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
        if (owner.__name__, name) in comments:
            return _in_one_line(" ".join(comments[owner.__name__, name]))
        if name in vars(owner).get("__annotations__", {}):
            break
    raise LookupError(f"{section.__name__}.{name} has no comment that begins with `#:`")


def _allowed(entry: dataclasses.Field) -> str:
    """The words or the numbers that a key may have."""
    words = entry.metadata.get("one_of")
    if words:
        return f"One of {', '.join(f'`{_yaml(word)}`' for word in words)}."
    bounds = entry.metadata.get("range")
    if not bounds:
        return ""
    ends = [
        f"{told} {value:g}"
        for told, value in (
            ("at least", bounds.least),
            ("at most", bounds.most),
            ("above", bounds.above),
            ("below", bounds.below),
        )
        if value is not None
    ]
    if not ends:
        return ""
    zero = f"; 0 {bounds.zero}" if bounds.zero else ""
    ends[0] = ends[0].capitalize()
    return f"{', '.join(ends)}{zero}."


def _freedom(prefix: str, name: str) -> str:
    """Why a key may change from one start of a run to the next; "" for one that may not."""
    reason = FREE.get(f"{prefix}{name}", FREE.get(prefix.rstrip("."), ""))
    return (
        f"May differ between the starts of a run and between its pieces: {reason}."
        if reason
        else ""
    )


def _type(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    inner = [_type(one) for one in typing.get_args(kind) if one is not type(None)]
    origin = typing.get_origin(kind)
    if origin is Union:
        return " or ".join(inner)
    if origin is dict:
        return "names and what each stands for"
    return f"list of {inner[0]}"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.strip().removesuffix("...").strip()


def _in_one_line(text: Optional[str]) -> str:
    return " ".join((text or "").split())
