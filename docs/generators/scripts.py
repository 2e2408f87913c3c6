"""The page of scripts: what each says with `--help`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from generators.markdown import block

__all__ = ["usage", "write"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_PLACES = ("scripts/*.sh", "scripts/slurm/*.sbatch", "scripts/*.py")
_SHELL = re.compile(r"<<'TEXT'\n(.*?)^TEXT$", re.DOTALL | re.MULTILINE)


def write() -> Iterator[str]:
    """A heading and the usage of each script that has one."""
    for place in _PLACES:
        for path in sorted(_ROOT.glob(place)):
            text = usage(path)
            if text:
                yield from ("", f"## {path.relative_to(_ROOT)}", "")
                yield from block(text)


def usage(path: Path) -> str:
    """What a script prints with `--help`, read from its source; "" for one that is only sourced."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(source)) or ""
    found = _SHELL.search(source)
    return found[1] if found and "sage: " in found[1] else ""
