"""Which test output is the accuracy, and what the last test in a log has found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple, Optional

from dualnet.engine.formats.regular_file import regular_only
from dualnet.report.parse import SHOWN_OUTPUT

__all__ = ["LastTest", "accuracy_name", "last_test"]

_TEST = re.compile(r"\] Iteration (\d{1,15}), Testing net \(#0\)", re.ASCII)
#: Bytes of a log's end that are read first, and at most: tests are rarer than other lines.
_FIRST_BYTES, _MOST_BYTES = 1 << 16, 1 << 24


class LastTest(NamedTuple):
    """A test's accuracy, and the iteration it was made at."""

    accuracy: float
    iteration: int


def accuracy_name(names: Iterable[str]) -> Optional[str]:
    """The output that is an accuracy: `accuracy`, else the first that has `acc` in its name."""
    found = [name for name in names if "acc" in name.lower()]
    return min(found, key=lambda name: name != "accuracy") if found else None


def last_test(path: str) -> Optional[LastTest]:
    """The last test with an accuracy in a log that may be growing; None where there is none.

    Args:
        path: The log, of one test net. What cannot be read counts as absent.
    """
    try:
        with open(path, "rb", opener=regular_only) as file:
            size = os.fstat(file.fileno()).st_size
            length = _FIRST_BYTES
            while True:
                file.seek(max(0, size - length))
                found = _last_in(file.read(length).decode(errors="replace"))
                if found is not None or length >= min(size, _MOST_BYTES):
                    return found
                length *= 8
    except OSError:
        return None


def _last_in(text: str) -> Optional[LastTest]:
    # From the end: the last test may still lack its outputs.
    for test in reversed(list(_TEST.finditer(text))):
        block = text[test.end() : test.end() + _FIRST_BYTES]
        following = _TEST.search(block)
        outputs: dict[str, str] = {}
        for name, value in SHOWN_OUTPUT.findall(block[: following.start()] if following else block):
            outputs.setdefault(name, value)  # of several values the first one
        chosen = accuracy_name(outputs)
        if chosen is not None:
            try:
                return LastTest(float(outputs[chosen]), int(test.group(1)))
            except ValueError:
                continue  # half a line
    return None
