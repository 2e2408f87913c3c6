"""The arguments of `Net(…)`, in the present and in the legacy order (`_caffe.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualnet.engine import log
from dualnet.engine.core.call import file_name, integer
from dualnet.engine.errors import quoted
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.proto import caffe_pb2

__all__ = ["constructor_arguments"]

_SIGNATURE = "Net(network_file, phase, level=0, stages=None, weights=None)"
_NEEDED = "phase is caffe.TRAIN or caffe.TEST"


def constructor_arguments(
    network_file: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[int, int, Sequence[str] | None, Path | None]:
    """Reads `(phase, level, stages, weights)`, or the legacy `(weights, phase)`.

    Args:
        network_file: the first argument.
        args: what stood after the file, by position.
        kwargs: what was named.

    Returns:
        Phase, level, stages and weights file.

    Raises:
        TypeError: an argument is missing, unknown, given twice or of a wrong type; the message has
            the call as it was and as it should be.
        ValueError: there is no such phase.
    """
    call = _written(network_file, args, kwargs)
    file_name(network_file, call, "network_file")
    values = dict(kwargs)
    if len(args) == 2 and isinstance(args[0], (str, bytes)):
        log.warning(
            "DEPRECATION WARNING - deprecated use of Python interface; use this instead: "
            "Net(network_file, phase, weights=weights_file)"
        )
        values.update(weights=args[0], phase=args[1])
        args = ()
    elif len(args) == 1 and isinstance(args[0], (str, bytes)) and "phase" not in values:
        raise TypeError(
            f"{call}: no phase, and {args[0]!r} stands in its place; call "
            "Net(network_file, phase, weights=weights_file) or, as of old, "
            f"Net(network_file, weights_file, phase), where {_NEEDED}"
        )
    for name, value in zip(("phase", "level", "stages", "weights"), args):
        if name in values:
            raise TypeError(f"{call}: Net() got multiple values for argument '{name}'")
        values[name] = value
    unknown = set(values) - {"phase", "level", "stages", "weights"}
    if unknown or len(args) > 4:
        raise TypeError(
            f"{call}: Net() got unexpected arguments: {quoted(sorted(unknown)) or len(args)}; "
            f"call {_SIGNATURE}"
        )
    if "phase" not in values:
        raise TypeError(f"{call}: Net() needs a phase; call {_SIGNATURE}, where {_NEEDED}")
    try:
        phase = integer(values["phase"], call, "phase")
    except TypeError as error:
        raise TypeError(f"{error}; {_NEEDED}") from None
    if phase not in (caffe_pb2.TRAIN, caffe_pb2.TEST):
        raise ValueError(f"{call}: phase is {phase}; {_NEEDED}")
    if values.get("weights") is not None:
        file_name(values["weights"], call, "weights")
    return (
        phase,
        integer(values.get("level", 0), call, "level"),
        values.get("stages"),
        values.get("weights"),
    )


def _written(network_file: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The call as the user's program has it, long values left out."""
    given = [repr(value) for value in (network_file, *args)]
    given += [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"Net({', '.join(text if len(text) <= 80 else '…' for text in given)})"
