"""`dualnet doctor`: what this machine has for dualnet, and what it lacks."""

from __future__ import annotations

import argparse
import sys
from typing import Any

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "say what this machine has for dualnet, and what it lacks"
    command = commands.add_parser("doctor", help=summary, description=summary)
    command.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> None:
    from dualnet.doctor import examine

    sys.stdout.write(examine())
