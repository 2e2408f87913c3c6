"""`dualnet data`: data sets as Caffe reads them."""

from __future__ import annotations

import argparse
from typing import Any

from dualnet.cli.terminal import say
from dualnet.errors import UsageError
from dualnet.strict_json import to_json

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "write a data set as Caffe's LMDB and mean image"
    command = commands.add_parser("data", help=summary, description=summary)
    command.set_defaults(run=_data)
    command.add_argument("name", metavar="NAME", help="digits, cifar10 or cats-dogs")
    command.add_argument("--source", metavar="PATH", help="folder or archive to read it from")
    command.add_argument("-o", "--output", metavar="DIR", help="default: data/NAME")
    command.add_argument("--force", action="store_true", help="replace what is there")


def _data(options: argparse.Namespace) -> None:
    from dualnet.data.sets import DATA_SETS, prepare

    if options.name not in DATA_SETS:
        raise UsageError(f"no data set {options.name}; there are {', '.join(DATA_SETS)}")
    summary = prepare(
        options.name, options.source, options.output, options.force, progress=True, log=say
    )
    print(to_json(summary))
