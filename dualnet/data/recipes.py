"""Which command makes a data set that is not there."""

from __future__ import annotations

import os
import shlex

__all__ = ["COMMANDS", "command_for"]

#: The shipped data sets by name; each is made in data/NAME/, where shipped prototxt look for it.
COMMANDS = {
    "digits": "dualnet data digits",
    "cifar10": "dualnet data cifar10",
    "cats-dogs": "dualnet data cats-dogs --source FOLDER",
}
#: What is in the directory of a data set that `dualnet data` makes.
_PARTS = ("train_lmdb", "test_lmdb", "mean.binaryproto")


def command_for(path: str) -> str:
    """The command that makes the data set which a file is part of.

    Args:
        path: As a net names it in `source` or `mean_file`.

    Returns:
        The command, with -o where its default is another place; "" if no command makes such a file.
    """
    folder, part = os.path.split(path)
    if part not in _PARTS or not folder:
        return ""
    name = os.path.basename(folder)
    if name not in COMMANDS:
        return f"dualnet data images FOLDER -o {shlex.quote(folder)}"
    if os.path.abspath(folder) == os.path.abspath(os.path.join("data", name)):
        return COMMANDS[name]
    return f"{COMMANDS[name]} -o {shlex.quote(folder)}"
