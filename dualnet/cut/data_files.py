"""The files that a net's layers read, found before Caffe looks: BVLC's ends the process else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from dualnet.config.named_file import find, looked_in
from dualnet.cut.fields import Field, walk
from dualnet.cut.graph import BATCH_FIELDS

__all__ = ["Missing", "locate_files", "missing_file", "named_files", "replace_files"]

#: Fields that name a file or a folder to read, in whichever message of a layer.
_FILE_FIELDS = ("source", "mean_file", "root_folder")
_NAMED = re.compile(
    rf"""(?P<name>\b(?:{"|".join(_FILE_FIELDS)})\s*:\s*)(?P<quote>["'])(?P<path>[^"'\n]*)(?P=quote)"""
)


def locate_files(layer: Any, named_by: str, absolute: bool = False) -> None:
    """Give a layer's files the paths where they are; those that are nowhere keep theirs.

    Args:
        layer: A LayerParameter, changed in place.
        named_by: The prototxt that has it.
        absolute: Make them absolute, so that a copy of the layer works anywhere.
    """
    for field in _fields(layer):
        path = str(getattr(field.message, field.name))
        # Caffe puts a root_folder before names as it is, so that its last slash counts.
        found = find(path, named_by)
        if absolute and found and os.path.exists(found):
            found = os.path.abspath(found)
        end = "/" if path.endswith("/") and not found.endswith("/") else ""
        setattr(field.message, field.name, found + end)


def named_files(layer: Any) -> list[str]:
    """The files and folders that a layer names."""
    return [str(getattr(field.message, field.name)) for field in _fields(layer)]


def replace_files(text: str, paths: Mapping[str, str]) -> str:
    """A net's prototxt with other paths for some of the files that it names.

    Args:
        text: The prototxt.
        paths: A path in it to another.
    """

    def replaced(found: re.Match[str]) -> str:
        path = paths.get(found["path"])
        return found[0] if path is None else f'{found["name"]}"{path}"'

    return _NAMED.sub(replaced, text) if paths else text


def _fields(layer: Any) -> list[Field]:
    return [field for field in walk(layer) if field.name in _FILE_FIELDS]


class Missing(NamedTuple):
    """A file or folder that a layer reads, and that is not there.

    Attributes:
        field: The layer's field that names it: `source` or `mean_file`.
        path: As the field says.
        looked_in: Where it was looked for, in words.
    """

    field: str
    path: str
    looked_in: str

    def __str__(self) -> str:
        return f"its {self.field} {self.path!r} is not here{self.looked_in}"


def missing_file(layer: Any, named_by: str) -> Optional[Missing]:
    """What a data layer reads and is not there; the first of its fields; None if all are there.

    Args:
        layer: A LayerParameter, after `locate_files`.
        named_by: The prototxt that has it.
    """
    param = getattr(layer, BATCH_FIELDS[layer.type]) if layer.type in BATCH_FIELDS else None
    paths: dict[str, str] = {"mean_file": layer.transform_param.mean_file}
    if param is not None and hasattr(param, "source"):  # MemoryData has none
        paths = {"source": str(param.source), **paths}
    for name, path in paths.items():
        if (path or name == "source") and not os.path.exists(path):
            return Missing(name, path, looked_in(path, named_by))
    return None
