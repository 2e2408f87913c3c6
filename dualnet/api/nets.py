"""Cut a net into the pieces of a chain, and find out where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from dualnet.errors import UsageError

if TYPE_CHECKING:
    from dualnet.cut.plan.cut_plan import CutPlan
    from dualnet.cut.split import Split

__all__ = ["plan", "split"]

#: Blobs or layers of one cut: a name, or several.
Names = Union[str, Sequence[str]]


def split(
    net: str,
    cuts: Sequence[tuple[Names, Names]],
    output: str,
    solver: Optional[str] = None,
    target: str = "gradient",
    tie: str = "start",
    loss: str = "prototxt",
    shapes: Optional[Mapping[str, Sequence[int]]] = None,
    force: bool = False,
    remark: Callable[[str], None] = lambda line: None,
) -> Split:
    """Cut a training net into pieces, and write their prototxt, solvers and YAML.

    Args:
        net: The single net's train_test prototxt.
        cuts: Of each cut, from the data to the loss, the blob at which the piece below ends and the
            layer after it that both pieces have, as ("pool2", "conv3"); or several of either.
        output: Directory for the files.
        solver: The net's solver; default the one beside it that its name suggests.
        target, tie, loss: The coupling, as in the YAML.
        shapes: Blob of a data layer to the shape of one sample, for data that is not here.
        force: Replace what is there.
        remark: Told what the user should know, a line each, before anything is written.

    Returns:
        What was written; its `yaml` is what `train` takes.

    Raises:
        ConfigError: A file cannot be read, or the net cannot be cut so.
        UsageError: A file is there already.
    """
    from dualnet.cut.split import Request, write
    from dualnet.cut.split import split as divide

    named = [(_listed(at), _listed(dual)) for at, dual in cuts]
    request = Request(net, named, output, solver, target, tie, loss, dict(shapes or {}))
    result = divide(request)
    for line in result.remarks:
        remark(line)
    write(request, result, force)
    return result


def plan(
    net: str, pieces: int = 2, progress: Optional[Callable[[int, int], None]] = None, **more: Any
) -> CutPlan:
    """Measure where a net can be cut, and find the best chain under each schedule.

    Args:
        net: The single net's train_test prototxt.
        pieces: How many pieces.
        progress: Called with (iterations done, iterations in all) while layers are timed.
        **more: Further fields of `dualnet.cut.plan.cut_plan.Request`: `batch`, `device`, `threads`,
            `carrier`, `schedule`, `limit_bytes` and others.

    Raises:
        ConfigError: A prototxt cannot be read or built, or the data is not here.
        UsageError: A field that does not exist, or a value that makes no sense.
    """
    from dualnet.cut.plan.cut_plan import Request
    from dualnet.cut.plan.cut_plan import plan as find

    try:
        request = Request(net, pieces=pieces, **more)
    except TypeError as error:
        raise UsageError(f"plan: {error}") from error
    return find(request, progress or (lambda done, total: None))


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
