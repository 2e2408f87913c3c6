"""Writes a project into a folder of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dualnet.errors import StorageFailed, UsageError
from dualnet.project import PROJECT_FILE
from dualnet.project.examples import Example, contents
from dualnet.project.readme import readme

__all__ = ["create_project"]

_PIECE = re.compile(r"prototxt/net\d+_solver\.prototxt")
_IGNORED = """# What the commands make.
/data/
/runs/
/nets/
/.venv/
"""


def create_project(folder: Path, example: Example, force: bool = False) -> list[str]:
    """Write YAML, prototxt, scripts, a README and a .gitignore.

    Args:
        folder: Where; it is made if need be. Its name becomes that of the project's runs.
        example: What the project begins as.
        force: Write into a folder that is not empty, over files of the same names.

    Returns:
        The files' paths within the folder, sorted.

    Raises:
        UsageError: The folder is not empty, or no folder.
        StorageFailed: It cannot be written.
    """
    name = folder.resolve().name
    _refuse_what_is_there(folder, force)
    files = contents(example, name)
    pieces = sum(bool(_PIECE.fullmatch(path)) for path in files)
    files.update({".gitignore": _IGNORED, "README.md": readme(example, name, pieces)})
    try:
        # The YAML is written last: a folder that has it is a whole project.
        for path in sorted(files, key=lambda path: path == PROJECT_FILE):
            _write(folder / path, files[path])
    except OSError as error:
        raise StorageFailed(
            f"{error.filename or folder}: cannot be written: {error.strerror}; check the path and "
            "the disk"
        ) from error
    return sorted(files)


def _refuse_what_is_there(folder: Path, force: bool) -> None:
    try:
        there = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise UsageError(f"{folder}: a file; name a folder for the project") from error
    except OSError as error:
        raise StorageFailed(f"{folder}: cannot be read: {error.strerror}") from error
    if there and not force:
        raise UsageError(
            f"{folder}: not empty (it has {there[0]}); name a new folder, or give --force to write "
            "the project into this one, over files of the same names"
        )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if text.startswith("#!"):
        path.chmod(path.stat().st_mode | 0o111)
