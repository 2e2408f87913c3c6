"""The code blocks of a page, and a shell that runs them as a reader would, but with few iterations.

A block of language `sh` or `python` is run, unless the paragraph before it says why it is not:

    *Not run by the tests: needs two nodes.*
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.scripts.shell import environment, program

ROOT = Path(__file__).resolve().parent.parent.parent
#: What a reader has in the folder in which the pages' commands are given.
_BESIDE = ("configs", "dualnet", "prototxt", "results", "scripts", "setup.py")
#: Put over every training: what a page trains for minutes ends after seconds.
_SHORT = (
    "train.max_iter=20",
    "train.display=5",
    "train.test_interval=10",
    "train.test_iter=1",
)

_FENCE = re.compile(
    r"(?:^\*Not run by the tests[^:\n]*: (?P<reason>[^*]+)\*\n+)?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        line: Of the page, from 1.
        language: Behind the fence; "" for none.
        code: Its lines.
        reason: Why it is not run; "" for one that is.
    """

    line: int
    language: str
    code: str
    reason: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page of Markdown."""
    return [
        Block(
            1 + text.count("\n", 0, found.start("code")),
            found["language"],
            found["code"],
            " ".join((found["reason"] or "").split()),
        )
        for found in _FENCE.finditer(text)
    ]


def make_folder(folder: Path) -> dict[str, str]:
    """Put into a folder what the repository's folder has for its reader.

    Returns:
        The environment in which `dualnet`, `python` and the scripts train for few iterations.
    """
    for name in _BESIDE:
        (folder / name).symlink_to(ROOT / name)
    short = " ".join(f"--set {setting}" for setting in _SHORT)
    program(
        folder / "bin/dualnet",
        f'case "$1" in train | single | net | net[0-9]*) set -- "$@" {short} ;; esac\n'
        f'exec "{sys.executable}" -m dualnet "$@"\n',
    )
    python = program(
        folder / "bin/python",
        'if [ "$1 $2" = "-m dualnet" ]; then shift 2; exec "${0%python}dualnet" "$@"; fi\n'
        f'exec "{sys.executable}" "$@"\n',
    )
    return environment(
        DUALNET_PYTHON=str(python),
        PATH=f"{folder}/bin:{os.environ['PATH']}",
        PYTHONPATH=str(ROOT),
        OMP_WAIT_POLICY="PASSIVE",
    )


def run_block(
    block: Block, folder: Path, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a block; standard error is part of its output."""
    command: Sequence[str] = ["bash", "-euo", "pipefail", "-c", block.code]
    if block.language == "python":
        command = [sys.executable, "-c", block.code]
    return subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
