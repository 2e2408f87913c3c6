"""An experiment's YAML file: which runs are compared, over which seeds, and what is drawn."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from typing import Any, Optional

from dualnet.config.yaml_text import BadYaml, read_yaml, shown
from dualnet.errors import ConfigError
from dualnet.shipped import shipped

__all__ = ["DIRECTORY", "Experiment", "Variant", "load_experiment", "names"]

#: Where experiments are, in the working directory or, if it has none, among what dualnet ships.
DIRECTORY = os.path.join("configs", "experiments")

_COMMANDS = ("single", "train")


@dataclass(frozen=True)
class Variant:
    """One of the runs that are compared."""

    name: str
    #: `train` (all pieces) or `single`.
    command: str = "train"
    #: `--set` overrides, after the experiment's.
    overrides: list[str] = field(default_factory=list)
    #: A line for the table: what this run is.
    about: str = ""


@dataclass(frozen=True)
class Experiment:
    """What is compared with what.

    Attributes:
        name: Of the YAML file, without its suffix.
        title: For the figure and the table.
        question: What it is to answer, a few lines.
        config: The YAML of all its runs.
        overrides: `--set` overrides of all its runs.
        seeds: Each run is made once for each; runs of one seed share weights and data order.
        variants: The runs.
        series: Further panels of the figure, as `dualnet plot --series` takes them.
        columns: Further columns of the table: final values of such series.
        drawings: Name of a picture to the config whose nets it shows side by side.
        logarithmic: Whether losses are drawn on logarithmic axes; None decides panel by panel.
    """

    name: str
    title: str
    question: str
    config: str
    overrides: list[str]
    seeds: list[int]
    variants: list[Variant]
    series: list[str]
    columns: list[str]
    drawings: dict[str, str]
    logarithmic: Optional[bool]


def _directory() -> str:
    return DIRECTORY if os.path.isdir(DIRECTORY) else str(shipped(DIRECTORY))


def names() -> list[str]:
    """The experiments that there are, sorted."""
    paths = glob.glob(os.path.join(_directory(), "*.yaml"))
    return sorted(os.path.splitext(os.path.basename(path))[0] for path in paths)


def load_experiment(name: str, is_short: bool = False) -> Experiment:
    """Read and check an experiment.

    Args:
        name: One of `names`.
        is_short: As its `short` section has it: minutes instead of hours.

    Raises:
        ConfigError: There is no such experiment, or its file says something unknown.
    """
    path = os.path.join(_directory(), f"{name}.yaml")
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        known = ", ".join(names()) or f"none in {DIRECTORY}"
        raise ConfigError(f"no experiment {name}; there are {known}") from None
    except (OSError, BadYaml) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}")
    short = raw.pop("short", {}) or {}
    _check_keys(path, "short.", short, ("config", "seeds", "set"))
    if is_short:
        short["set"] = [*_get(path, raw, "set", list, []), *_get(path, short, "set", list, [])]
        raw.update(short)
    keys = (
        "title", "question", "config", "set", "seeds", "runs", "series", "columns", "log", "draw",
    )  # fmt: skip
    _check_keys(path, "", raw, keys)
    drawings = _get(path, raw, "draw", dict, {})
    runs = _get(path, raw, "runs", dict, {})
    if not runs and not drawings:
        raise ConfigError(f"{path}: runs: empty; name the runs that are compared")
    seeds = _get(path, raw, "seeds", list, [1])
    if not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise ConfigError(f"{path}: seeds: {shown(seeds)} is no list of whole numbers")
    return Experiment(
        name=name,
        title=_get(path, raw, "title", str),
        question=_get(path, raw, "question", str).strip(),
        config=_get(path, raw, "config", str, "" if drawings else None),
        overrides=_get(path, raw, "set", list, []),
        seeds=seeds,
        variants=[_variant(path, key, value or {}) for key, value in runs.items()],
        series=_get(path, raw, "series", list, []),
        columns=_get(path, raw, "columns", list, []),
        drawings=drawings,
        logarithmic=raw.get("log"),
    )


def _variant(path: str, name: str, raw: dict[str, Any]) -> Variant:
    _check_keys(path, f"runs.{name}.", raw, ("command", "set", "about"))
    command = _get(path, raw, "command", str, "train")
    if command not in _COMMANDS:
        raise ConfigError(
            f"{path}: runs.{name}.command: {shown(command)} is none of {', '.join(_COMMANDS)}"
        )
    about = _get(path, raw, "about", str, "")
    return Variant(name, command, _get(path, raw, "set", list, []), about)


def _check_keys(path: str, prefix: str, raw: Any, known: tuple[str, ...]) -> None:
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: {prefix[:-1]}: expected keys and values, found {shown(raw)}")
    for key in raw:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {prefix}{key}; valid keys: {', '.join(known)}")


def _get(path: str, raw: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = raw.get(key, default)
    if not isinstance(value, kind):
        raise ConfigError(f"{path}: {key}: expected {kind.__name__}, found {type(value).__name__}")
    return value
