"""`dualnet caffe train|test|time|device_query …`, for scripts that call Caffe's own command."""

from __future__ import annotations

from typing import Any

from dualnet.cli.provider import missing_torch
from dualnet.cli.terminal import say
from dualnet.errors import UsageError

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Name the command in the parser's help; its flags are gflags' and never parsed there."""
    summary = "Caffe's own command, on the engine: train, test, time"
    commands.add_parser("caffe", help=summary, description=summary)


def run(words: list[str]) -> int:
    """Run it; returns its exit code."""
    from dualnet import engine

    try:
        engine.register()
    except ModuleNotFoundError as error:
        if not missing_torch(error):
            raise
        say(f"dualnet: {missing_torch(error)}")
        return UsageError.exit_code
    from dualnet.engine.command import caffe_command

    return caffe_command.main(words)
