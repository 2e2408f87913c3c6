"""`dualnet caffe train|test|time|device_query …`, for scripts that call Caffe's own command."""

from __future__ import annotations

from typing import Any

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Name the command in the parser's help; its flags are gflags' and never parsed there."""
    summary = "Caffe's own command, on the engine: train, test, time"
    commands.add_parser("caffe", help=summary, description=summary)


def run(words: list[str]) -> int:
    """Run it; returns its exit code."""
    from dualnet import engine

    engine.register()
    from dualnet.engine.command import caffe_command

    return caffe_command.main(words)
