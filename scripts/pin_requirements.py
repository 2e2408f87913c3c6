#!/usr/bin/env python3
"""Write requirements/pins.txt: the exact version of every package, for every supported Python.

Usage: scripts/pin_requirements.py [--keep]

Asks the pip of each supported Python, all of which must be installed as python3.9, python3.10, ...,
what it would install for the files in requirements/, and merges the answers, with an environment
marker where they differ. Run it to move to new releases, or with --keep to pin a package that was
added to requirements/ and leave all others as they are (but those whose lines you have deleted from
pins.txt); then run .ci/run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

# PyTorch decides what a GPU machine downloads, so its version is chosen, not the newest taken:
# 2.13.0 is what results/ was measured with, and 2.8.0 is the last release for Python 3.9.
TORCH = {"3.9": "2.8.0"}
TORCH_ELSEWHERE = "2.13.0"

# torch pins its CUDA libraries itself, and differently in its CPU builds.
_LEFT_TO_TORCH = ("nvidia-", "cuda-", "triton")

_HEADER = """\
# Exact versions of everything, for Python {first} to {last}: a constraint file for the others here.
# Written by scripts/pin_requirements.py. torch's CUDA libraries are pinned by torch itself.
"""


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Merge the versions found for each Python into requirement lines.

    Args:
        resolved: for each Python version, oldest first, the version of each package.

    Returns:
        Lines such as `numpy==2.0.2 ; python_version < "3.10"`, sorted by package.
    """
    pythons = list(resolved)
    lines = []
    for package in sorted({name for versions in resolved.values() for name in versions}):
        start = 0
        while start < len(pythons):
            version = resolved[pythons[start]].get(package)
            end = start
            while end + 1 < len(pythons) and resolved[pythons[end + 1]].get(package) == version:
                end += 1
            if version is not None:
                lines.append(f"{package}=={version}{_marker(pythons, start, end)}")
            start = end + 1
    return lines


def _marker(pythons: list[str], start: int, end: int) -> str:
    """Name the Pythons from start to end; open-ended where the list itself ends."""
    bounds = []
    if start > 0:
        bounds.append(f'python_version >= "{pythons[start]}"')
    if end < len(pythons) - 1:
        bounds.append(f'python_version < "{pythons[end + 1]}"')
    return " ; " + " and ".join(bounds) if bounds else ""


def _names() -> list[str]:
    """Every package that a requirement file names."""
    names = []
    for path in sorted(REQUIREMENTS.glob("*.txt")):
        if path.name != "pins.txt":
            lines = path.read_text(encoding="utf-8").splitlines()
            names += [line for line in lines if line and line[0] not in "#-"]
    return names


def _resolve(python: str, keep: bool) -> dict[str, str]:
    """Ask pip which versions it would install for one Python version.

    Args:
        python: its version.
        keep: the versions that are pinned now are to stay.
    """
    torch = TORCH.get(python, TORCH_ELSEWHERE)
    wanted = [f"torch=={torch}" if name == "torch" else name for name in _names()]
    # Each Python is asked itself: pip's --python-version does not always honour what a release
    # requires of Python.
    executable = shutil.which(f"python{python}")
    if executable is None:
        raise SystemExit(f"pin_requirements.py: python{python} not found: put it on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet"]
        # Older ones download every file, even for a dry run.
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        report = Path(folder) / "report.json"
        dry_run = ["--dry-run", "--ignore-installed", "--only-binary=:all:"]
        if keep:
            dry_run += ["--constraint", str(REQUIREMENTS / "pins.txt")]
        subprocess.run([*pip, *dry_run, "--report", str(report), *wanted], check=True)
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {}
    for item in installed:
        name = item["metadata"]["name"].lower().replace("_", "-")
        if not name.startswith(_LEFT_TO_TORCH):
            versions[name] = item["metadata"]["version"].split("+")[0]  # no build such as +cpu
    return versions


def main() -> int:
    """Resolve for each Python and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="pin only what is not pinned yet")
    options = parser.parse_args()
    resolved = {}
    for python in PYTHONS:
        print(f"resolving for Python {python}", file=sys.stderr)
        resolved[python] = _resolve(python, options.keep)
    header = _HEADER.format(first=PYTHONS[0], last=PYTHONS[-1])
    pins = REQUIREMENTS / "pins.txt"
    pins.write_text(header + "\n".join(merge(resolved)) + "\n", encoding="utf-8")
    print(f"wrote {pins}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
