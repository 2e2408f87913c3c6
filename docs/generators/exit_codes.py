"""The table of exit codes, from the exceptions of dualnet/errors.py."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from dualnet import errors
from generators.markdown import escape

__all__ = ["write"]


def write() -> Iterator[str]:
    """A row for each exception, in the order of the codes."""
    yield from ("| code | exception | meaning |", "|---|---|---|")
    yield "| 0 | | done; or stopped by a signal, and ready to go on |"
    found = [getattr(errors, name) for name in errors.__all__]
    kinds = [one for one in found if one is not errors.DualnetError]
    for kind in sorted(kinds, key=lambda one: one.exit_code):
        meaning = escape(" ".join(inspect.getdoc(kind).split()))
        yield f"| {kind.exit_code} | `{kind.__name__}` | {meaning} |"
    yield "| 128 + n | | ended by signal n before the run could be resumed (130: Ctrl-C) |"
