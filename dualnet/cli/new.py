"""`dualnet new`: a project of the user's own, from one of the examples."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
from pathlib import Path
from typing import Any

from dualnet.cli.terminal import say
from dualnet.errors import UsageError

__all__ = ["add"]

_EXAMPLES = """examples:
  dualnet new my-net && cd my-net && dualnet train      the digits, in two pieces
  dualnet new my-net --example three                    in a chain of three pieces
  dualnet new . --example cifar10                       into this folder, if it is empty
  dualnet new --list
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "make a folder with a net in pieces, ready to train: YAML, prototxt, scripts, data"
    command = commands.add_parser(
        "new", help=summary, description=summary, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_new)
    command.add_argument("folder", metavar="DIR", nargs="?", help="a new folder, or an empty one")
    command.add_argument(
        "--example", default="digits", metavar="NAME",
        help="what it begins as: digits, three, cifar10, cats-dogs or all (default: digits)",
    )  # fmt: skip
    command.add_argument("--list", action="store_true", help="say what the examples are")
    command.add_argument(
        "--force", action="store_true", help="write into a folder that is not empty"
    )


def _new(options: argparse.Namespace) -> None:
    from dualnet.data.recipes import COMMANDS
    from dualnet.project.create import create_project
    from dualnet.project.examples import EXAMPLES, example_named

    if options.list:
        for one in EXAMPLES.values():
            print(f"{one.name:10} {one.summary}; data: {COMMANDS[one.data]}")
        return
    if options.folder is None:
        raise UsageError("new: name the folder of the project, as in dualnet new my-net")
    example, folder = example_named(options.example), Path(options.folder)
    files = create_project(folder, example, options.force)
    parts = dict.fromkeys(path.partition("/")[0] + "/" * ("/" in path) for path in files)
    say(f"wrote {folder}: {', '.join(parts)}")
    steps = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    steps += _data_steps(folder, example.data)
    steps.append("dualnet train" if example.config else "dualnet train configs/digits.yaml")
    say(f"next: {' && '.join(steps)}")


def _data_steps(folder: Path, name: str) -> list[str]:
    """Make the data set if that needs nothing of the user; else the commands that make it."""
    from dualnet.data.recipes import COMMANDS
    from dualnet.data.sets.prepare import PARTS, prepare

    place = folder / "data" / name
    if all((place / part).exists() for part in PARTS):
        return []
    if name != "digits":
        return [COMMANDS[name]]
    if importlib.util.find_spec("sklearn") is None:
        return ['pip install "dualnet[digits]"', COMMANDS[name]]
    prepare(name, out=place, force=True)
    say(f"made the data set {place}")
    return []
