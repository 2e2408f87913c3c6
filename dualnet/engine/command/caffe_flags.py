"""Command-line flags as Caffe's gflags reads them: `--flag=value`, `-flag value`, in any place."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field

from dualnet.engine.errors import CaffeError

__all__ = ["Flags", "UsageError", "flag_help", "parse_flags"]


class UsageError(CaffeError, ValueError):
    """The command line is wrong."""


def _flag(default: typing.Any, text: str) -> typing.Any:
    return field(default=default, metadata={"help": text})


@dataclass
class Flags:
    """The flags of the `caffe` command (`tools/caffe.cpp`), and those of its log."""

    gpu: str = _flag("", "GPU number; 'all' is accepted if there is exactly one")
    iterations: int = _flag(50, "how many iterations to test or time")
    level: int = _flag(0, "network level")
    model: str = _flag("", "the model definition (prototxt)")
    phase: str = _flag("", "network phase (TRAIN or TEST), used for 'time' only")
    sighup_effect: str = _flag("snapshot", "what SIGHUP does: snapshot, stop or none")
    sigint_effect: str = _flag("stop", "what SIGINT does: snapshot, stop or none")
    snapshot: str = _flag("", "the solver state to resume training from")
    solver: str = _flag("", "the solver definition (prototxt)")
    stage: str = _flag("", "network stages, separated by ','")
    stop_on_nan: bool = _flag(False, "end training when the loss is NaN or infinite (not in Caffe)")
    weights: str = _flag("", "weights to start or test with, separated by ','")
    minloglevel: int = _flag(-1, "least severity to log: 0 info, 1 warning, 2 error")
    logtostderr: bool = _flag(True, "accepted for compatibility; the log always goes to stderr")
    alsologtostderr: bool = _flag(True, "as logtostderr")
    help: bool = _flag(False, "show this help")
    version: bool = _flag(False, "show the version")


_FIELDS = {one.name: one for one in dataclasses.fields(Flags)}
_TYPES = typing.get_type_hints(Flags)


def parse_flags(arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """Separates flags from other words.

    Args:
        arguments: the command line after the program's name.

    Returns:
        The flags, and the other words.

    Raises:
        UsageError: a flag is unknown, lacks its value or has a wrong one.
    """
    flags, words = Flags(), []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            words += rest
            break
        if not argument.startswith("-") or argument == "-":
            words.append(argument)
            continue
        name, equals, text = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if name not in _FIELDS and name.startswith("no") and _TYPES.get(name[2:]) is bool:
            name, equals, text = name[2:], "=", "false"
        if name not in _FIELDS:
            raise UsageError(
                f"unknown command line flag '{argument}'; the flags are: {', '.join(_FIELDS)}"
            )
        if not equals:
            if _TYPES[name] is bool:
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise UsageError(f"flag '{argument}' is missing its argument")
        setattr(flags, name, _convert(name, text))
    return flags, words


def flag_help() -> str:
    """One line a flag: its name, its meaning and its default."""
    lines = []
    for name, one in _FIELDS.items():
        default = repr(one.default) if isinstance(one.default, str) else one.default
        lines.append(f"    --{name:16} {one.metadata['help']} (default: {default})")
    return "\n".join(lines)


def _convert(name: str, text: str) -> str | int | bool:
    kind = _TYPES[name]
    if kind is bool and text.lower() in ("1", "t", "true", "y", "yes"):
        return True
    if kind is bool and text.lower() in ("0", "f", "false", "n", "no"):
        return False
    if kind is str:
        return text
    try:
        if kind is int:
            return int(text)
    except ValueError:
        pass
    raise UsageError(f"illegal value '{text}' for {kind.__name__} flag '{name}'")
