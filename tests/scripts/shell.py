"""Run the repository's scripts, and make small programs that stand in for others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Optional

# What a user may have set must not reach the scripts under test.
_OWN = ("DUALNET_", "SLURM_", "PBS_", "PYTHON", "APT_CONFIG")


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without the variables that steer the scripts."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    clean.update(extra)
    return clean


def run(
    script: Path, *arguments: str, cwd: Optional[Path] = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script with no standard input; its output is text, standard error apart."""
    return subprocess.run(
        [str(script), *arguments],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def program(path: Path, body: str) -> Path:
    """Write an executable shell program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/usr/bin/env bash\n" + body, encoding="utf-8")
    path.chmod(0o755)
    return path
