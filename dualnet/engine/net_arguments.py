"""The arguments of `Net(…)`, in the present and in the legacy order (`_caffe.cpp`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualnet.engine import log
from dualnet.engine.errors import quoted
from dualnet.engine.prototxt import Path

__all__ = ["constructor_arguments"]


def constructor_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[int, int, Sequence[str] | None, Path | None]:
    """Sorts out `(phase, level, stages, weights)` and the legacy `(weights, phase)`.

    Args:
        args: what stood after the file, by position.
        kwargs: what was named.

    Returns:
        Phase, level, stages and weights file.

    Raises:
        TypeError: an argument is missing, unknown or given twice.
    """
    values = dict(kwargs)
    if len(args) == 2 and not isinstance(args[0], int):
        log.warning(
            "DEPRECATION WARNING - deprecated use of Python interface; use this instead: "
            "Net(network_file, phase, weights=weights_file)"
        )
        values.update(weights=args[0], phase=args[1])
        args = ()
    for name, value in zip(("phase", "level", "stages", "weights"), args):
        if name in values:
            raise TypeError(f"Net() got multiple values for argument '{name}'")
        values[name] = value
    unknown = set(values) - {"phase", "level", "stages", "weights"}
    if unknown or len(args) > 4:
        raise TypeError(f"Net() got unexpected arguments: {quoted(sorted(unknown)) or len(args)}")
    if "phase" not in values:
        raise TypeError("Net() needs a phase: caffe.TRAIN or caffe.TEST")
    return (
        int(values["phase"]),
        int(values.get("level", 0)),
        values.get("stages"),
        values.get("weights"),
    )
