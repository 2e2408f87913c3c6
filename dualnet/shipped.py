"""The files that dualnet ships beside its code: configurations, prototxt, scripts of users.

In a checkout they are folders at its root. An installed package has them inside, in `FOLDER`:
setup.py puts them there when the wheel is built, so the repository has each of them once.
"""

from __future__ import annotations

from pathlib import Path

from dualnet.errors import DualnetError

__all__ = ["FOLDER", "shipped", "shipped_files"]

#: Where they are in an installed package, below `dualnet/`.
FOLDER = "_shipped"

#: Which they are, from the root of the repository.
_PATTERNS = (
    "configs/**/*.yaml",
    "configs/**/*.md",
    "prototxt/**/*.prototxt",
    # These start pieces on nodes; all other scripts are about the repository itself.
    "scripts/python.sh",
    "scripts/run_*.sh",
    "scripts/slurm/*",
)

_PACKAGE = Path(__file__).resolve().parent


def _root() -> Path:
    """What the patterns are relative to."""
    installed = _PACKAGE / FOLDER
    return installed if installed.is_dir() else _PACKAGE.parent


def shipped(path: str) -> Path:
    """Where a shipped file or folder is on this machine.

    Args:
        path: As the repository calls it, as `configs/digits.yaml`.

    Raises:
        DualnetError: It is not there: the installation is incomplete.
    """
    found = _root() / path
    if not found.exists():
        raise DualnetError(
            f"{found}: not there, and dualnet comes with it; install dualnet again, or put this "
            "part of the repository back"
        )
    return found


def shipped_files(folder: str = "") -> list[str]:
    """The shipped files, as the repository calls them, sorted.

    Args:
        folder: Only those below it, as `scripts`.
    """
    root = _root()
    found = {path for pattern in _PATTERNS for path in root.glob(pattern) if path.is_file()}
    names = sorted(path.relative_to(root).as_posix() for path in found)
    return [name for name in names if not folder or name.startswith(f"{folder}/")]
