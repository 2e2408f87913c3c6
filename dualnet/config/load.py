"""From YAML text and `--set` overrides to a Config; unknown and mistyped keys are errors."""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Sequence
from typing import Any, Union

from dualnet.config.chain import cut_name, piece_names, read_chain
from dualnet.config.checks import check_values
from dualnet.config.named_file import find
from dualnet.config.schema import Config
from dualnet.config.yaml_text import BadYaml, parse_yaml, read_yaml, shown
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir

__all__ = ["from_dict", "load", "load_run"]


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """Read and check a YAML file.

    Args:
        path: The file.
        overrides: `key.path=value` strings as of `--set`, applied in order; values are YAML.

    Returns:
        The Config, with the files that the YAML names where they are (`named_file.find`); those of
        `overrides` are relative to the working directory.

    Raises:
        ConfigError: The file cannot be read, or a key or value is not valid.
    """
    if path.endswith(".prototxt"):  # which is valid YAML now and then
        raise ConfigError(
            f"{path}: a prototxt, where a run's YAML is expected, as configs/digits.yaml; dualnet "
            "split makes one of a net"
        )
    try:
        raw = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from error
    except BadYaml as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}")
    _find_files(raw, path)
    for override in overrides:
        _apply_override(raw, override)
    return from_dict(raw, path)


def load_run(run: RunDir) -> Config:
    """The resolved configuration that a run has left in its directory.

    Raises:
        ConfigError: There is none, so this is no run directory.
    """
    if not os.path.exists(run.config):
        raise ConfigError(f"{run}: no run here (no {os.path.basename(run.config)} in it)")
    return load(run.config)


def from_dict(raw: dict[str, Any], source: str = "config") -> Config:
    """Build a Config from nested dictionaries, checking every key and value.

    Raises:
        ConfigError: An unknown key, a value of the wrong type, or one that makes no sense.
    """
    config = typing.cast(Config, _build(Config, read_chain(raw, source), "", source))
    check_values(config, source)
    return config


def _build(cls: type[Any], raw: Any, prefix: str, source: str) -> Any:
    if raw is None:
        raw = {}  # a section whose keys are all commented out
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: {prefix[:-1]}: expected keys and values, found {shown(raw)}")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    values = {}
    for key, value in raw.items():
        if key not in names:
            named = key if isinstance(key, str) and key.isprintable() else shown(key)
            named = named if len(named) < 100 else shown(key)
            if cls is Config:
                names = [*names, "net1", "net2", "cut"]
            close = difflib.get_close_matches(named, names, n=1)
            hint = f"did you mean {prefix}{close[0]}? " if close else ""
            where = f"in {prefix[:-1]}" if prefix else "at the top level"
            valid = f"valid keys {where}: {', '.join(names)}"
            raise ConfigError(f"{source}: unknown key {prefix}{named}; {hint}{valid}")
        hint_type = hints[key]
        if key in ("pieces", "cuts"):
            values[key] = _build_chain(key, typing.get_args(hint_type)[0], value, source)
        elif dataclasses.is_dataclass(hint_type):
            values[key] = _build(typing.cast(type, hint_type), value, f"{prefix}{key}.", source)
        else:
            values[key] = _typed(value, hint_type, f"{prefix}{key}", source)
    return cls(**values)


def _build_chain(key: str, cls: type[Any], sections: list[Any], source: str) -> tuple[Any, ...]:
    """The pieces or the cuts, each under the name that the YAML and --set know it by."""
    names: Sequence[str] = piece_names(len(sections))
    if key == "cuts":
        names = [cut_name(index, len(sections) + 1) for index in range(len(sections))]
    return tuple(_build(cls, section, f"{name}.", source) for name, section in zip(names, sections))


def _typed(value: Any, hint: Any, key: str, source: str) -> Any:
    """`value` as the annotated type, or a ConfigError that names both."""
    options = typing.get_args(hint) if typing.get_origin(hint) is Union else (hint,)
    for option in options:
        if option is type(None):
            if value is None:
                return None
        elif option is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
            # YAML reads 1e-3 as a string, for want of a dot.
            if isinstance(value, str) and _is_number(value):
                return float(value)
        elif option is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        elif typing.get_origin(option) is list:
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return value
        elif typing.get_origin(option) is dict:
            if isinstance(value, dict) and all(
                isinstance(item, str) for pair in value.items() for item in pair
            ):
                return value
        elif isinstance(value, option):
            return value
    names = " or ".join(_type_name(option) for option in options)
    raise ConfigError(f"{source}: {key}: expected {names}, found {shown(value)}")


def _type_name(option: Any) -> str:
    origin = typing.get_origin(option)
    if origin is list:
        return "a list of strings"
    if origin is dict:
        return "a mapping of names to names"
    if option is type(None):
        return "null"
    return {int: "an integer", float: "a number", str: "a string"}.get(option, option.__name__)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_files(raw: Any, source: str) -> None:
    """Give each solver and each file of weights of a YAML the path where it is."""
    if isinstance(raw, list):
        for item in raw:
            _find_files(item, source)
    if not isinstance(raw, dict):
        return
    for key, value in raw.items():
        if key == "solver" and isinstance(value, str):
            raw[key] = find(value, source)
        elif key == "weights" and isinstance(value, list):
            raw[key] = [find(one, source) if isinstance(one, str) else one for one in value]
        else:
            _find_files(value, source)


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override}: expected key.path=value, as in train.max_iter=100")
    try:
        value = parse_yaml(text)
    except BadYaml as error:
        raise ConfigError(f"--set {shown(override)}: not a YAML value: {error}") from error
    *parents, last = path.strip().split(".")
    node = raw
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, it has no key {last}")
        node = child
    node[last] = value
