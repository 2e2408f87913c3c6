"""Which commit the running dualnet is, where it runs from a checkout."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path

import dualnet

__all__ = ["commit_of", "own_commit"]

#: A checkout on a slow file server must not hold up a start.
_LIMIT_S = 2.0
#: A hook of git sets these, for the repository that it runs in.
_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


@lru_cache(maxsize=1)
def own_commit() -> str:
    """The commit of the dualnet that runs; see `commit_of`."""
    return commit_of(Path(dualnet.__file__).resolve().parent.parent)


def commit_of(root: Path) -> str:
    """A checkout's commit in hex, with `-dirty` behind it where tracked files were changed.

    Args:
        root: Its top. A folder inside some other checkout, as `.venv` often is, is none.

    Returns:
        "" where there is no checkout, no git, or no answer within two seconds.
    """
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*"]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    environment["GIT_OPTIONAL_LOCKS"] = "0"  # only look: others may be at work in the checkout
    try:
        done = subprocess.run(
            [*command, "--dirty"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("ascii", "replace").strip()
