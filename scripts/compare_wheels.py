#!/usr/bin/env python3
"""Check that two wheels hold the same files, and all that the repository ships.

Usage: scripts/compare_wheels.py WHEEL OTHER REPOSITORY
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dualnet.shipped import FOLDER, shipped_files


def contents(path: Path) -> dict[str, bytes]:
    """The files in a wheel, by name."""
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def expected(root: Path) -> dict[str, bytes]:
    """What a wheel must hold of a repository: every module, and what lies beside them."""
    found = {f"dualnet/{FOLDER}/{name}": (root / name).read_bytes() for name in shipped_files()}
    for path in [*root.glob("dualnet/**/*.py"), root / "dualnet/py.typed"]:
        found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names that only one has, or that stand for different contents."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def main() -> int:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("other", type=Path, help="the same, built in another way")
    parser.add_argument("repository", type=Path)
    options = parser.parse_args()
    wheel, wanted = contents(options.wheel), expected(options.repository)
    problems = [f"differs: {name}" for name in differences(wheel, contents(options.other))]
    problems += [
        f"not in the wheel as it is here: {name}"
        for name in differences(wanted, {name: wheel.get(name, b"") for name in wanted})
    ]
    problems += [
        f"in the wheel, and not here: {name}"
        for name in wheel
        if name not in wanted and ".dist-info/" not in name and name.endswith((".py", ".yaml"))
    ]
    print("\n".join([*problems, f"{len(wheel)} files, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
