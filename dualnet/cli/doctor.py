"""`dualnet doctor`: what this machine has for dualnet, and what it lacks."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dualnet.errors import DualnetError

__all__ = ["add"]

_EXAMPLES = """examples:
  dualnet doctor
  dualnet doctor --shared /shared/runs       on each node: is the directory fast, and the same?
Lines begin with ok, with -- where something optional is absent, and with !! where training cannot
work without it; the exit code is then 1.
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "say what this machine has for dualnet, and what it lacks"
    command = commands.add_parser(
        "doctor", help=summary, description=summary, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_doctor)
    command.add_argument(
        "--shared", metavar="DIR", help="also try a directory that the pieces' nodes share"
    )


def _doctor(options: argparse.Namespace) -> None:
    from dualnet.doctor import examine, report

    found = examine(options.shared)
    sys.stdout.write(report(found))
    lacking = sum(mark == "!!" for mark, _ in found)
    if lacking:
        sys.stdout.flush()
        raise DualnetError(f"doctor: {lacking} thing(s) marked !! must be mended before training")
